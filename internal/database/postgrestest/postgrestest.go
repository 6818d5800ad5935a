//go:build unix

// Package postgrestest starts a PostgreSQL of one's own for tests, of the programs that
// Debian's package postgresql installs.
package postgrestest

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Server is a PostgreSQL that runs.
type Server struct {
	// DSN is its database, as a superuser.
	DSN string

	dir     string
	command *exec.Cmd
}

// ErrMissing says that PostgreSQL is not installed.
var ErrMissing = errors.New("PostgreSQL is not installed; apt-get install --no-install-recommends postgresql")

// Run runs the tests of a package with a server; the tests get it with [Need].
func Run(m *testing.M, use func(*Server, error)) int {
	server, err := Start()
	use(server, err)
	code := m.Run()
	if server != nil {
		server.Stop()
	}
	return code
}

// Need returns the server. A test that has none is skipped, and fails where CI is set: there
// it would not be noticed.
func Need(t *testing.T, s *Server, err error) *Server {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrMissing) && os.Getenv("CI") == "":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	return s
}

// Start makes a database in a folder that goes with it, and starts a server over it, at a port
// that is free.
func Start() (*Server, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return nil, ErrMissing
	}
	bin := filepath.Dir(found[len(found)-1])
	credential, err := somebody()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	if credential != nil {
		err = os.Chown(dir, int(credential.Uid), int(credential.Gid))
	}
	if err == nil {
		initdb := s.program(credential, filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
		var talk []byte
		if talk, err = initdb.CombinedOutput(); err != nil {
			err = fmt.Errorf("initdb: %w: %s", err, talk)
		}
	}
	for attempt := 0; err == nil; attempt++ {
		if err = s.serve(credential, filepath.Join(bin, "postgres")); err == nil {
			return s, nil
		}
		if attempt < 3 {
			err = nil // somebody else may have taken the port
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// somebody is who runs the server: PostgreSQL refuses to be run by root.
func somebody() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, cmp.Or(uidErr, gidErr)
}

func (s *Server) program(credential *syscall.Credential, path string, args ...string) *exec.Cmd {
	command := exec.Command(path, args...)
	command.Dir = s.dir
	command.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	return command
}

// serve starts the server and returns when it takes connections.
func (s *Server) serve(credential *syscall.Credential, path string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.command = s.program(credential, path, "-D", filepath.Join(s.dir, "data"), "-p", strconv.Itoa(port), "-h", "127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=60", "-c", "autovacuum=off")
	talk, err := s.command.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.command.Start(); err != nil {
		return err
	}
	var said strings.Builder
	for lines := bufio.NewScanner(talk); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "ready to accept connections") {
			s.DSN = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
			go func() { _, _ = io.Copy(io.Discard, talk) }() // it says what it refuses
			return nil
		}
	}
	return fmt.Errorf("postgres: %w: %s", s.command.Wait(), said.String())
}

// freePort is a port that nobody has, so far.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Stop ends the server, and removes its folder.
func (s *Server) Stop() {
	_ = s.command.Process.Signal(syscall.SIGQUIT) // at once, and with its children
	_, _ = s.command.Process.Wait()
	_ = os.RemoveAll(s.dir)
}
