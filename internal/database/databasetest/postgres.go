//go:build unix

package databasetest

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
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// Postgres is the server of a package's tests, of the programs that Debian's package postgresql
// installs, once [Postgres.Main] has started it.
type Postgres struct {
	dsn     string // of its database, as a superuser
	err     error  // why there is none
	schemas atomic.Int64

	dir     string
	command *exec.Cmd
	said    chan struct{} // closed when it says nothing any more
}

// errMissing says that PostgreSQL is not installed.
var errMissing = errors.New("PostgreSQL is not installed; apt-get install --no-install-recommends postgresql")

// Main runs the tests of a package with the server, and ends the process. A goroutine that is
// left over fails them.
func (s *Postgres) Main(m *testing.M) {
	s.err = s.start()
	code := m.Run()
	s.stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Schema makes a schema of the test's own by statements. A test that has no server is skipped,
// and fails where CI is set: there it would not be noticed.
func (s *Postgres) Schema(t *testing.T, statements ...string) Database {
	t.Helper()
	switch {
	case s.err == nil:
	case errors.Is(s.err, errMissing) && os.Getenv("CI") == "":
		t.Skip(s.err)
	default:
		t.Fatal(s.err)
	}
	name := fmt.Sprintf("test_%d", s.schemas.Add(1))
	d := Over("pgx", s.dsn+"&search_path="+name)
	d.Exec(t, append([]string{"CREATE SCHEMA " + name}, statements...)...)
	return d
}

// start makes a database in a folder that goes with it, and starts a server over it, at a port
// that is free.
func (s *Postgres) start() error {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return errMissing
	}
	bin := filepath.Dir(found[len(found)-1])
	credential, err := somebody()
	if err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "postgres"); err != nil {
		return err
	}
	if credential != nil {
		err = os.Chown(s.dir, int(credential.Uid), int(credential.Gid))
	}
	if err == nil {
		initdb := s.program(credential, filepath.Join(bin, "initdb"), "-D", filepath.Join(s.dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
		var talk []byte
		if talk, err = initdb.CombinedOutput(); err != nil {
			err = fmt.Errorf("initdb: %w: %s", err, talk)
		}
	}
	for attempt := 0; err == nil; attempt++ {
		if err = s.serve(credential, filepath.Join(bin, "postgres")); err == nil {
			return nil
		}
		if attempt < 3 {
			err = nil // somebody else may have taken the port
		}
	}
	return errors.Join(err, os.RemoveAll(s.dir))
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

func (s *Postgres) program(credential *syscall.Credential, path string, args ...string) *exec.Cmd {
	command := exec.Command(path, args...)
	command.Dir = s.dir
	command.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	return command
}

// serve starts the server and returns when it takes connections.
func (s *Postgres) serve(credential *syscall.Credential, path string) error {
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
			s.dsn = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
			s.said = make(chan struct{})
			go func() {
				defer close(s.said)
				_, _ = io.Copy(io.Discard, talk) // it says what it refuses
			}()
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

// stop ends the server, and removes its folder.
func (s *Postgres) stop() {
	if s.err != nil {
		return
	}
	_ = s.command.Process.Signal(syscall.SIGQUIT) // at once, and with its children
	<-s.said
	_ = s.command.Wait()
	_ = os.RemoveAll(s.dir)
}
