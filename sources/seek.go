package sources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/infiles"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

// fileID is what a file is known by in a later run.
type fileID struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	// Hash is of samples of its bytes.
	Hash string `json:"hash"`
	// Ended says that the last row has its line break. Of a compressed file that is looked
	// at only when it has grown.
	Ended bool `json:"ended"`
}

// Identify says what the files are known by: names, sizes, and a hash of samples. "" if
// one of them is no plain file.
//
// Records reads what was there then: what is added meanwhile is for another run, which
// will find that the files have grown.
func (f *File) Identify(ctx context.Context) (string, error) {
	files, err := f.files()
	if err != nil {
		return "", err
	}
	ids, err := f.identities(ctx, files)
	if err != nil || ids == nil {
		return "", err
	}
	f.identified = files
	text, err := json.Marshal(ids)
	return string(text), err
}

// identities are those of all files; nil if one of them is no plain file.
func (f *File) identities(ctx context.Context, files []input) (_ []fileID, err error) {
	if slices.ContainsFunc(files, func(in input) bool { return !in.Regular }) {
		return nil, nil
	}
	ids := make([]fileID, len(files))
	for i, in := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if ids[i], err = f.identify(in, in.Size); err != nil {
			return nil, pipeline.Fatal("source", err)
		}
	}
	return ids, nil
}

// identify says what a file is known by when it has that size.
func (f *File) identify(in input, size int64) (id fileID, err error) {
	id = fileID{Path: in.Path, Size: size}
	file, err := os.Open(in.Path)
	if err != nil {
		return id, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	if id.Hash, err = infiles.Hash(file, size); err != nil {
		return id, fmt.Errorf("%s: %w", in.Path, err)
	}
	then := io.NewSectionReader(file, 0, size)
	if size == 0 {
		id.Ended = true
	} else if kind, err := codec.Detect(then, in.Path, f.compression()); err == nil && kind == codec.None {
		last := make([]byte, 1)
		if _, err := file.ReadAt(last, size-1); err != nil {
			return id, fmt.Errorf("%s: %w", in.Path, err)
		}
		id.Ended = last[0] == '\n'
	}
	return id, nil
}

func (f *File) compression() codec.Compression { return codec.Compression(f.config.Compression) }

// Compare says how the files differ from those of an earlier run. They have grown if the
// last one has more rows, or if others follow it. Everything else is an error: the rows
// would not be what they were.
func (f *File) Compare(ctx context.Context, was string) (pipeline.Change, error) {
	files, err := f.files()
	if err != nil {
		return pipeline.Same, err
	}
	after, err := f.identities(ctx, files)
	if err != nil {
		return pipeline.Same, err
	}
	if (was == "") != (after == nil) {
		return pipeline.Same, errors.New("what is a file now was a pipe then, or the other way round")
	}
	if was == "" {
		return pipeline.Same, nil
	}
	var before []fileID
	if err := json.Unmarshal([]byte(was), &before); err != nil {
		return pipeline.Same, fmt.Errorf("what is known of the files then is damaged: %w", err)
	}
	if slices.Equal(before, after) {
		return pipeline.Same, nil
	}
	for i, id := range before {
		if err := checkPlace(id, i, after); err != nil {
			return pipeline.Same, err
		}
		if err := f.compare(id, after[i], i == len(before)-1); err != nil {
			return pipeline.Same, err
		}
	}
	return pipeline.Grown, nil
}

// checkPlace says why a file is not the i-th any more.
func checkPlace(was fileID, i int, now []fileID) error {
	switch {
	case i < len(now) && now[i].Path == was.Path:
		return nil
	case i < len(now) && slices.ContainsFunc(now[i:], func(id fileID) bool { return id.Path == was.Path }):
		return fmt.Errorf("%s is read in front of %s and was not there; a new file may only come behind all others", now[i].Path, was.Path)
	default:
		return fmt.Errorf("%s is gone", was.Path)
	}
}

// compare refuses a file that does not begin with the rows that it had.
func (f *File) compare(was, now fileID, last bool) error {
	if was == now {
		return nil
	}
	in := input{Path: was.Path}
	switch {
	case now.Size < was.Size:
		return fmt.Errorf("%s has %d bytes and had %d", was.Path, now.Size, was.Size)
	case now.Size == was.Size:
		return fmt.Errorf("%s has other bytes than it had", was.Path)
	}
	then, err := f.identify(in, was.Size)
	switch {
	case err != nil:
		return err
	case then.Hash != was.Hash:
		return fmt.Errorf("%s does not begin with the %d bytes that it had", was.Path, was.Size)
	case !last:
		return fmt.Errorf("%s has grown, and other files follow it; only the last one may grow", was.Path)
	case f.format(in) == codec.JSON || f.format(in) == codec.Whole:
		return fmt.Errorf("%s has grown; only to jsonl, csv, tsv and lines can rows be added", was.Path)
	}
	if !then.Ended {
		return f.compareUnended(in, was.Size)
	}
	return nil
}

// compareUnended refuses a file that has grown although its last row may have had no end:
// of a compressed one that is not known yet.
func (f *File) compareUnended(in input, size int64) error {
	file, err := os.Open(in.Path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	stream := codec.Decompress(io.NewSectionReader(file, 0, size), in.Path, f.compression())
	defer func() { _ = stream.Close() }()
	last, err := lastByte(stream)
	switch {
	case err != nil:
		return fmt.Errorf("%s has grown, and where it ended it was not whole: %w", in.Path, err)
	case last != '\n':
		return fmt.Errorf("%s has grown, and its last row had no line break: it may be another row now", in.Path)
	default:
		return nil
	}
}

// lastByte reads all there is; a line break stands for nothing.
func lastByte(r io.Reader) (byte, error) {
	last, buf := byte('\n'), make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			last = buf[n-1]
		}
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
	}
}

// Seek has Records begin with the row that stood at a place. In files that are not
// compressed nothing in front of it is read but a header.
func (f *File) Seek(_ context.Context, at pipeline.Origin) error {
	f.start = &at
	return nil
}

// skipTo leaves out the files in front of where the rows begin: how many they are. The
// header of the first is read all the same.
func (f *File) skipTo(files []input, columns *rowfile.Columns) (int, error) {
	i := slices.IndexFunc(files, func(in input) bool { return in.Path == f.start.Path })
	if i < 0 {
		return 0, pipeline.Fatal("source", fmt.Errorf("%s is gone", f.start.Path))
	}
	if i == 0 {
		return 0, nil
	}
	o, err := f.open(files[0])
	if err != nil {
		return 0, err
	}
	defer o.close()
	if err := columns.Check(files[0].Path, o.Rows); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return i, nil
}
