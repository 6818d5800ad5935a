package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/pipeline"
)

// fileID is what a file is known by in a later run.
type fileID struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	// Hash is of samples of its bytes.
	Hash string `json:"hash"`
	// Ended says that more can be appended: the last row has its line break, and the file
	// is not compressed.
	Ended bool `json:"ended"`
}

// The samples by which a file is known: the first and the last 4 KiB, and 16 blocks in
// between. A small file is read whole.
const (
	sampleBytes   = 4 << 10
	sampleBetween = 16
)

// Identify says what the files are known by: names, sizes, and a hash of samples. "" if
// one of them is no plain file.
func (f *File) Identify(context.Context) (string, error) {
	files, err := f.files()
	if err != nil || slices.ContainsFunc(files, func(in input) bool { return !in.regular }) {
		return "", err
	}
	ids := make([]fileID, len(files))
	for i, in := range files {
		if ids[i], err = f.identify(in, in.size); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(ids)
	return string(b), err
}

// identify says what a file is known by when it has that size.
func (f *File) identify(in input, size int64) (fileID, error) {
	id := fileID{Path: in.path, Size: size, Ended: true}
	file, err := os.Open(in.path)
	if err != nil {
		return id, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	sum := sha256.New()
	for _, at := range samples(size) {
		if _, err := io.Copy(sum, io.NewSectionReader(file, at, min(sampleBytes, size-at))); err != nil {
			return id, fmt.Errorf("%s: %w", in.path, err)
		}
	}
	id.Hash = hex.EncodeToString(sum.Sum(nil)[:16])
	if size == 0 {
		return id, nil
	}
	last := make([]byte, 1)
	if _, err := file.ReadAt(last, size-1); err != nil {
		return id, fmt.Errorf("%s: %w", in.path, err)
	}
	id.Ended = last[0] == '\n' && f.plain(in)
	return id, nil
}

// plain reports whether rows are appended to a file by appending bytes.
func (f *File) plain(in input) bool {
	c := codec.Compression(f.config.Compression)
	if c == "" || c == codec.AutoCompression {
		c = codec.CompressionOf(in.path)
	}
	return c == codec.None && f.format(in) != codec.Whole && f.format(in) != codec.JSON
}

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

// Compare says how the files differ from those of an earlier run. They have grown if the
// last one has more lines, or if others follow it.
func (f *File) Compare(ctx context.Context, was string) (pipeline.Change, error) {
	now, err := f.Identify(ctx)
	if err != nil || now == was {
		return pipeline.Same, err
	}
	if was == "" || now == "" {
		return pipeline.Same, errors.New("it is a file now and was a pipe, or the other way round")
	}
	var before, after []fileID
	if err := errors.Join(json.Unmarshal([]byte(was), &before), json.Unmarshal([]byte(now), &after)); err != nil {
		return pipeline.Same, err
	}
	for i, id := range before {
		if i >= len(after) {
			return pipeline.Same, fmt.Errorf("%s is gone", id.Path)
		}
		if err := f.compare(id, after[i], i == len(before)-1); err != nil {
			return pipeline.Same, err
		}
	}
	return pipeline.Grown, nil
}

func (f *File) compare(was, now fileID, last bool) error {
	if was == now {
		return nil
	}
	switch {
	case was.Path != now.Path:
		return fmt.Errorf("%s is there in place of %s", now.Path, was.Path)
	case now.Size < was.Size:
		return fmt.Errorf("%s has %d bytes and had %d", was.Path, now.Size, was.Size)
	case now.Size > was.Size && !last:
		return fmt.Errorf("%s has grown, and other files follow it", was.Path)
	case now.Size > was.Size && !was.Ended:
		return fmt.Errorf("%s has grown, and its last row had no end, or the file is compressed", was.Path)
	}
	prefix, err := f.identify(input{path: was.Path}, was.Size)
	if err != nil {
		return err
	}
	if prefix.Hash != was.Hash {
		return fmt.Errorf("%s has other rows", was.Path)
	}
	return nil
}

// Seek has Records begin with the row that stood at a place.
func (f *File) Seek(_ context.Context, at pipeline.Origin) error {
	f.start = &at
	return nil
}

// skipTo leaves out what is in front of where the rows begin, and returns the rest of
// the files. The header of the first is read all the same.
func (f *File) skipTo(files []input, columns *columns) ([]input, error) {
	i := slices.IndexFunc(files, func(in input) bool { return in.path == f.start.Path })
	if i < 0 {
		return nil, pipeline.Fatal("source", fmt.Errorf("%s is gone", f.start.Path))
	}
	if i > 0 {
		o, err := f.open(files[0])
		if err != nil {
			return nil, err
		}
		err = columns.check(files[0].path, o.Reader)
		o.close()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		f.done.Store(0)
		for _, in := range files[:i] {
			f.done.Add(in.size)
		}
	}
	return files[i:], nil
}
