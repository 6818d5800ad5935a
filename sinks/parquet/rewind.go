package parquet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

// file is the one that is written in the end, for what is said and done about files.
func (s *Sink) file() *rowfile.Output {
	return &rowfile.Output{Path: s.config.Path, Compression: codec.None}
}

// Probe says whether the file can be written, and leaves everything as it is.
func (s *Sink) Probe(context.Context) error { return s.file().Probe() }

// Prepare refuses rows of an earlier run, or with fresh removes them.
func (s *Sink) Prepare(_ context.Context, fresh bool) error {
	if err := s.file().Prepare(fresh); err != nil {
		return err
	}
	return s.rows.Prepare(fresh)
}

// Start begins without rows.
func (s *Sink) Start(ctx context.Context, fresh bool) error {
	if err := s.Prepare(ctx, fresh); err != nil {
		return err
	}
	if err := s.rows.Start(fresh, nil); err != nil {
		return err
	}
	return s.begin(mark{})
}

// begin takes on the rows that are there at a mark.
func (s *Sink) begin(at mark) (err error) {
	s.taken, s.commits = at.Rows, nil
	if at.Rows > 0 {
		s.commits = []mark{at}
	}
	if s.schema, err = s.schemaOf(at); err != nil {
		return s.failed(err)
	}
	return nil
}

// Rewind goes on with the rows of a commit. They are in the file of rows, or, where the run
// had ended or was stopped, in the file itself. It refuses others than were there: of the
// class fatal, with the code output_changed.
func (s *Sink) Rewind(_ context.Context, to pipeline.Position) error {
	at, err := parseMark(to)
	switch {
	case err != nil:
		return s.failed(err)
	case at.Rows == 0:
		if err := s.file().Prepare(true); err != nil {
			return err
		}
		if err := s.rows.Rewind("", nil, nil); err != nil {
			return err
		}
		return s.begin(mark{})
	}
	if s.rows.Unchanged(pipeline.Position(at.File), nil) == nil {
		if err := s.rows.Rewind(pipeline.Position(at.File), nil, nil); err != nil {
			return err
		}
		return s.begin(at)
	}
	if err := s.made(at); err != nil {
		return err
	}
	return s.unmake(at)
}

// Check says whether the rows still are what Rewind needs.
func (s *Sink) Check(_ context.Context, to pipeline.Position) error {
	at, err := parseMark(to)
	if err != nil {
		return s.failed(err)
	}
	if at.Rows == 0 || s.rows.Unchanged(pipeline.Position(at.File), nil) == nil {
		return nil
	}
	return s.made(at)
}

// origin reads what the file says of how it was made.
func (s *Sink) origin() (about origin, err error) {
	err = s.read(func(f *parquetfile.File) error {
		text, ok := f.Metadata(originKey)
		if !ok {
			return errors.New("it says nothing of how it was made")
		}
		return json.Unmarshal([]byte(text), &about)
	})
	return about, err
}

// read has the file as it was made be read.
func (s *Sink) read(use func(*parquetfile.File) error) (err error) {
	file, err := os.Open(s.config.Path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f, err := parquetfile.Open(file, info.Size(), parquetfile.Options{Path: s.config.Path, MaxRecord: math.MaxInt})
	if err != nil {
		return err
	}
	defer f.Close()
	return use(f)
}

// made says whether the file was made of the rows of a commit, and perhaps more.
func (s *Sink) made(at mark) error {
	about, err := s.origin()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.changed("is gone")
	case err != nil:
		return s.changed("was changed: " + err.Error())
	case !slices.Contains(about.Commits, at):
		return s.changed("was changed: it was not made by this run")
	}
	return nil
}

func (s *Sink) changed(how string) error {
	return pipeline.Fatal("output_changed", fmt.Errorf(
		"%s %s since the run that is to go on; put the file back as it was, or start over with --fresh", s.config.Path, how))
}

// unmake puts the rows of the file into a file of rows again, to go on with. What is read
// is what was written, but for fields that are null and were missing.
func (s *Sink) unmake(at mark) error {
	part := &rowfile.Output{Path: s.beside(".rows.part"), Compression: codec.Zstd}
	if err := part.Start(true, nil); err != nil {
		return err
	}
	copied, err := s.copyRows(part, at.Rows)
	if err := errors.Join(err, part.Close()); err != nil {
		return s.failed(errors.Join(err, remove(part.Path)))
	}
	if err := errors.Join(os.Rename(part.Path, s.rows.Path), s.sync()); err != nil {
		return s.failed(err)
	}
	if err := s.rows.Rewind(copied, nil, nil); err != nil {
		return err
	}
	if err := s.begin(mark{Rows: at.Rows, File: string(copied)}); err != nil {
		return err
	}
	s.commits = append([]mark{at}, s.commits...) // the checkpoint still names it
	return nil
}

func (s *Sink) copyRows(to *rowfile.Output, rows int64) (at pipeline.Position, err error) {
	err = s.read(func(f *parquetfile.File) error {
		from, err := f.ReadFrom(0)
		if err != nil {
			return err
		}
		defer from.Close()
		for range rows {
			r, err := from.Read()
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("it has only %d rows and had %d", f.Rows(), rows)
			}
			if err != nil {
				return err
			}
			if err := to.Add(context.Background(), []*pipeline.Record{r}, s.lines.Append); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return to.Commit()
}
