package cache

import (
	"fmt"
	"path/filepath"
	"sync"
)

// Files are the caches that a program has open: a file is open once, for all who use
// it. The zero Files are ready to use, by several goroutines.
type Files struct {
	mu   sync.Mutex
	open map[string]*user // by absolute path
}

// user is an open file, and how many use it.
type user struct {
	file *File
	n    int
}

// Open returns the cache at path and what gives it back; the last one to do so
// closes the file. Errors are those of [Open].
func (s *Files) Open(path string) (file *File, release func() error, err error) {
	name, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cache %s: %w", path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.open[name]
	if u == nil {
		if file, err = Open(path); err != nil {
			return nil, nil, err
		}
		if s.open == nil {
			s.open = map[string]*user{}
		}
		u = &user{file: file}
		s.open[name] = u
	}
	u.n++
	return u.file, func() error { return s.release(name) }, nil
}

func (s *Files) release(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.open[name]
	if u.n--; u.n > 0 {
		return nil
	}
	delete(s.open, name)
	return u.file.Close()
}
