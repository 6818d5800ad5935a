package s3

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// Part is a part that is sealed: nothing more comes into it.
type Part struct {
	// Number counts the parts from 1.
	Number int `json:"part"`
	// Key is that of its object.
	Key   string `json:"key"`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
	// SHA256 is of the bytes as they are stored, in hex.
	SHA256 string `json:"sha256"`
}

// spool is the folder in which parts grow and wait. Beside them it holds a list of the
// sealed ones, `parts`, and what the server said of those that are uploaded, `uploaded`.
type spool struct {
	dir   string // "" until a temporary one is made
	own   bool   // it is temporary
	parts []Part // sealed, in order
	chain string // a hash of them
	log   *os.File
	size  int64 // of the list
	dirty bool  // the list is not durable
}

// The files of the spool beside the parts.
const (
	listName     = "parts"
	uploadedName = "uploaded"
)

func (s *spool) temporary() bool { return s.own || s.dir == "" }

// path is where a part is, given its key.
func (s *spool) path(key string) string { return filepath.Join(s.dir, baseOf(key)) }

// baseOf is what stands behind the last slash of a key.
func baseOf(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// begin makes the folder, empty.
func (s *spool) begin() error {
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "rowmill-s3-*")
		if err != nil {
			return spoolError(err)
		}
		s.dir, s.own = dir, true
	}
	if err := s.clear(); err != nil {
		return err
	}
	return s.openList(nil)
}

// rest returns the file of a part that an earlier run left; "" if there is none.
func (s *spool) rest() string {
	if s.dir == "" {
		return ""
	}
	entries, _ := os.ReadDir(s.dir) // what cannot be read shows when it is written to
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), "part-") && info.Size() > 0 {
			return filepath.Join(s.dir, e.Name())
		}
	}
	return ""
}

// clear removes what is in the folder.
func (s *spool) clear() error {
	if s.dir == "" {
		return nil
	}
	return spoolError(s.removeBut(func(string) bool { return false }))
}

// removeBut removes the files that are not to stay.
func (s *spool) removeBut(stays func(name string) bool) error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !stays(e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(s.dir, e.Name())))
		}
	}
	return err
}

// openList begins the list with these parts.
func (s *spool) openList(parts []Part) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return spoolError(err)
	}
	file, err := os.OpenFile(filepath.Join(s.dir, listName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return spoolError(err)
	}
	s.log, s.parts, s.chain, s.size = file, nil, "", 0
	var text []byte
	for _, p := range parts {
		text = append(text, s.link(p)...)
	}
	if _, err = file.Write(text); err == nil {
		err = file.Truncate(int64(len(text)))
	}
	s.dirty = true
	return spoolError(err)
}

// link adds a part to the list in memory, and returns its line.
func (s *spool) link(p Part) []byte {
	line, _ := json.Marshal(p) // texts and numbers are always JSON
	line = append(line, '\n')
	s.parts, s.size = append(s.parts, p), s.size+int64(len(line))
	s.chain = chained(s.chain, line)
	return line
}

// chained is the hash of a list that has one more line.
func chained(before string, line []byte) string {
	sum := sha256.Sum256(append([]byte(before), line...))
	return hex.EncodeToString(sum[:16])
}

// add adds a part that is sealed.
func (s *spool) add(p Part) error {
	_, err := s.log.Write(s.link(p))
	s.dirty = true
	return spoolError(err)
}

// sync makes the list durable.
func (s *spool) sync() error {
	if !s.dirty || s.log == nil {
		return nil
	}
	if err := s.log.Sync(); err != nil {
		return spoolError(err)
	}
	s.dirty = false
	return nil
}

// load reads the first lines of the list. The error is fs.ErrNotExist where there is none.
func (s *spool) load(n int) ([]Part, error) {
	file, err := os.Open(filepath.Join(s.dir, listName))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	lines := bufio.NewScanner(file)
	var parts []Part
	for len(parts) < n && lines.Scan() {
		var p Part
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return nil, fmt.Errorf("%s: line %d is damaged: %w", file.Name(), len(parts)+1, err)
		}
		parts = append(parts, p)
	}
	return parts, lines.Err()
}

// chainOf is the hash of a list of parts.
func chainOf(parts []Part) string {
	var s spool
	for _, p := range parts {
		s.link(p)
	}
	return s.chain
}

// uploaded notes what the server calls the bytes of a part, so that others are noticed.
type uploaded struct {
	Part int    `json:"part"`
	ETag string `json:"etag"`
}

// noteUploaded writes it down. A note that gets lost is not missed.
func (s *spool) noteUploaded(u uploaded) error {
	file, err := os.OpenFile(filepath.Join(s.dir, uploadedName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return spoolError(err)
	}
	line, _ := json.Marshal(u) // a number and a text
	_, err = file.Write(append(line, '\n'))
	return spoolError(errors.Join(err, file.Close()))
}

// etags returns what is noted.
func (s *spool) etags() map[int]string {
	out := map[int]string{}
	data, err := os.ReadFile(filepath.Join(s.dir, uploadedName))
	if err != nil {
		return out
	}
	for line := range bytes.Lines(data) {
		var u uploaded
		if json.Unmarshal(line, &u) == nil { // the last may be torn
			out[u.Part] = u.ETag
		}
	}
	return out
}

func (s *spool) close() error {
	if s.log == nil {
		return nil
	}
	err := s.log.Close()
	s.log = nil
	return spoolError(err)
}

// remove removes a temporary folder.
func (s *spool) remove() error {
	err := s.close()
	if s.own {
		err = errors.Join(err, spoolError(os.RemoveAll(s.dir)))
	}
	return err
}

// spoolError is an error of the disk: no row can be written.
func spoolError(err error) error {
	if err == nil {
		return nil
	}
	return pipeline.Fatal("output", fmt.Errorf("s3: the parts in the folder of the run's state: %w", err))
}

// sumOf returns the length and the SHA-256 of a file.
func sumOf(path string) (size int64, sum []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	hash := sha256.New()
	size, err = io.Copy(hash, file)
	return size, hash.Sum(nil), err
}
