// Package infiles finds the files that a source reads, and what they are known by in a
// later run; and it reads standard input such that a stop does not wait for it.
package infiles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// File is one of the files that a source reads.
type File struct {
	Path string
	// Size is in bytes.
	Size int64
	// Regular says that it is a plain file: it can be opened twice and has a size.
	Regular bool
}

// mostProblems bounds how many files a source complains of before it reads any.
const mostProblems = 5

// Probe looks at one file after the other, and returns what is wrong with the first few that
// have something. It ends with ctx: what is wrong with the others shows when they are read.
func Probe(ctx context.Context, files []File, look func(File) error) error {
	var problems []error
	for _, in := range files {
		if ctx.Err() != nil || len(problems) == mostProblems {
			break
		}
		if err := look(in); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// IsPattern reports whether a path has a sign that stands for others.
func IsPattern(path string) bool { return strings.ContainsAny(path, `*?[{`) }

// CheckPath says what can be said of a path before anything is there.
func CheckPath(path string) error {
	switch {
	case path == "":
		return errors.New("the path is empty")
	case IsPattern(path) && !doublestar.ValidatePathPattern(filepath.ToSlash(path)):
		return fmt.Errorf("%q is no pattern for paths: a bracket is not closed", path)
	}
	return nil
}

// Expand returns the files that a path means, in the order of their names. One that
// exists is meant itself, whatever signs are in it. example is how the files of a folder
// are named, such as "*.jsonl", for messages.
func Expand(path, example string) ([]File, error) {
	in, err := stat(path, example)
	if err == nil {
		return []File{in}, nil
	}
	if !IsPattern(path) || !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Folders that cannot be read are errors: their files would be left out silently.
	options := []doublestar.GlobOption{doublestar.WithFilesOnly(), doublestar.WithFailOnIOErrors(), doublestar.WithNoHidden()}
	if strings.Contains(path, "**") {
		options = append(options, doublestar.WithNoFollow()) // links may lead in a circle
	}
	found, err := doublestar.FilepathGlob(path, options...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	slices.Sort(found)
	var out []File
	for _, name := range found {
		in, err := stat(name, example)
		switch {
		case errors.Is(err, errFolder): // a link to one, which is not followed
		case err != nil:
			return nil, err
		default:
			out = append(out, in)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no file has such a name", path)
	}
	return out, nil
}

var errFolder = errors.New("is a folder")

func stat(path, example string) (File, error) {
	info, err := os.Stat(path)
	if err != nil {
		var named *fs.PathError
		if errors.As(err, &named) {
			err = named.Err
		}
		return File{}, fmt.Errorf("%s: %w", path, err)
	}
	if info.IsDir() {
		return File{}, fmt.Errorf("%s %w; name the files in it, like %s", path, errFolder, filepath.Join(path, example))
	}
	return File{Path: path, Size: info.Size(), Regular: info.Mode().IsRegular()}, nil
}

// The samples by which a file is known: the first and the last 4 KiB, and 16 blocks in
// between. A small file is read whole.
const (
	sampleBytes   = 4 << 10
	sampleBetween = 16
)

// samples are where the samples of a file of that size begin.
func samples(size int64) []int64 {
	var at []int64
	if size <= (sampleBetween+2)*sampleBytes {
		for i := int64(0); i < size; i += sampleBytes {
			at = append(at, i)
		}
		return at
	}
	for i := range int64(sampleBetween + 1) {
		at = append(at, i*((size-sampleBytes)/(sampleBetween+1)))
	}
	return append(at, size-sampleBytes)
}

// Hash returns a hash of samples of the first bytes of a file, size of them.
func Hash(file io.ReaderAt, size int64) (string, error) {
	sum := sha256.New()
	for _, at := range samples(size) {
		want := min(sampleBytes, size-at)
		n, err := io.Copy(sum, io.NewSectionReader(file, at, want))
		if err == nil && n < want {
			err = errors.New("it became shorter while it was read")
		}
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}
