package house_test

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// absolute is a path of the machine on which something was built. With -trimpath those
// of the module begin with its name, and those of others with theirs.
var absolute = regexp.MustCompile(`^(/|\./|\.\./|[A-Za-z]:[\\/]).`)

// TestProfilesNameNoMachine: a profile that is kept is built with -trimpath.
func TestProfilesNameNoMachine(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../../docs/profiles/*.pprof")
	if err != nil || len(paths) == 0 {
		t.Fatalf("got %d profiles, %v", len(paths), err)
	}
	for _, path := range paths {
		names, err := profileStrings(path)
		if err != nil || len(names) < 100 {
			t.Errorf("%s: %d strings, %v", path, len(names), err)
		}
		for _, name := range names {
			if absolute.MatchString(name) {
				t.Errorf("%s holds the path %s: make it again, from a program that is built with -trimpath", path, name)
			}
		}
	}
}

// profileStrings returns the string table of a profile: field 6 of the message Profile in
// https://github.com/google/pprof/blob/main/proto/profile.proto, compressed with gzip.
func profileStrings(path string) (table []string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	whole, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(whole)
	for err == nil && len(rest) > 0 {
		var field uint64
		var value []byte
		if field, value, rest, err = nextField(rest); field == 6 {
			table = append(table, string(value))
		}
	}
	return table, err
}

// nextField cuts the first field off a message of Protocol Buffers; value is nil for one
// that is a number.
func nextField(message []byte) (number uint64, value, rest []byte, err error) {
	tag, n := binary.Uvarint(message)
	size, m := binary.Uvarint(message[max(n, 0):])
	if n <= 0 || m <= 0 {
		return 0, nil, nil, errors.New("is cut short")
	}
	rest = message[n+m:]
	switch kind := tag & 7; {
	case kind == 0:
		return tag >> 3, nil, rest, nil
	case kind == 2 && size <= uint64(len(rest)):
		return tag >> 3, rest[:size], rest[size:], nil
	default:
		return 0, nil, nil, errors.New("is no profile")
	}
}
