package parquet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/rowmill/rowmill/internal/infiles"
	"github.com/rowmill/rowmill/pipeline"
)

// fileID is what a file is known by in a later run.
type fileID struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	// Hash is of samples of its bytes, the footer among them.
	Hash string `json:"hash"`
}

// Identify says what the files are known by: names, sizes, and a hash of samples. Records
// reads what was there then.
func (s *Source) Identify(ctx context.Context) (string, error) {
	files, err := s.files()
	if err != nil {
		return "", err
	}
	ids, err := identities(ctx, files)
	if err != nil {
		return "", err
	}
	s.found = files
	text, err := json.Marshal(ids)
	return string(text), err
}

func identities(ctx context.Context, files []infiles.File) ([]fileID, error) {
	ids := make([]fileID, len(files))
	for i, in := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		file, err := os.Open(in.Path)
		if err != nil {
			return nil, pipeline.Fatal("source", err)
		}
		hash, err := infiles.Hash(file, in.Size)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, pipeline.Fatal("source", fmt.Errorf("%s: %w", in.Path, err))
		}
		ids[i] = fileID{Path: in.Path, Size: in.Size, Hash: hash}
	}
	return ids, nil
}

// Compare says how the files differ from those of an earlier run. They have grown if
// others follow them. Everything else is an error: the rows would not be what they were.
func (s *Source) Compare(ctx context.Context, was string) (pipeline.Change, error) {
	files, err := s.files()
	if err != nil {
		return pipeline.Same, err
	}
	now, err := identities(ctx, files)
	if err != nil {
		return pipeline.Same, err
	}
	var then []fileID
	if err := json.Unmarshal([]byte(was), &then); err != nil {
		return pipeline.Same, fmt.Errorf("what is known of the files then is damaged: %w", err)
	}
	for i, id := range then {
		at := slices.IndexFunc(now, func(n fileID) bool { return n.Path == id.Path })
		switch {
		case at < 0:
			return pipeline.Same, fmt.Errorf("%s is gone", id.Path)
		case at != i:
			return pipeline.Same, fmt.Errorf("%s is read in front of %s and was not there; a new file may only come behind all others", now[i].Path, id.Path)
		case now[i] != id:
			return pipeline.Same, fmt.Errorf("%s has other bytes than it had, %d and not %d", id.Path, now[i].Size, id.Size)
		}
	}
	if len(now) > len(then) {
		return pipeline.Grown, nil
	}
	return pipeline.Same, nil
}

// Seek has Records begin with the row that stood at a place. Row groups and, where the
// columns are flat, pages in front of it are not decoded.
func (s *Source) Seek(_ context.Context, at pipeline.Origin) error {
	s.start = &at
	return nil
}
