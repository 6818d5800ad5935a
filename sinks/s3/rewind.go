package s3

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/rowmill/rowmill/internal/bucket"
	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/pipeline"
)

// parts lists the objects that are called like parts.
func (s *Sink) parts(ctx context.Context) ([]bucket.Object, error) {
	return s.bucket.List(ctx, s.names.prefix+"part-", s.names.isPart)
}

// refuse refuses parts of another run, in the bucket or on their way there.
func (s *Sink) refuse(ctx context.Context) error {
	found, err := s.parts(ctx)
	switch {
	case err != nil:
		return err
	case len(found) > 0:
		return pipeline.Fatal("output_exists", fmt.Errorf(
			"%s already has parts, like %s; --fresh removes them, or choose another `prefix`", s.bucket.URL(s.names.prefix), found[0].Key))
	}
	if name := s.spool.rest(); name != "" {
		return pipeline.Fatal("output_exists", fmt.Errorf("%s holds rows of an earlier run that are not in the bucket; --fresh removes them", name))
	}
	return nil
}

// clear leaves nothing of another run: first what says that all is there.
func (s *Sink) clear(ctx context.Context) error {
	if err := s.bucket.Delete(ctx, s.names.manifest()); err != nil {
		return err
	}
	if err := s.removeBehind(ctx, 0); err != nil {
		return err
	}
	s.open, s.waiting, s.columns, s.ended = nil, nil, nil, false
	s.count()
	if s.table != nil {
		s.table.begin()
	}
	return s.spool.clear()
}

// removeBehind removes the parts behind the first n, and uploads of any that were not ended.
func (s *Sink) removeBehind(ctx context.Context, n int) error {
	found, err := s.parts(ctx)
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for i := range n {
		ours[s.names.part(i+1)] = true
	}
	for _, o := range found {
		if !ours[o.Key] {
			if err := s.bucket.Delete(ctx, o.Key); err != nil {
				return err
			}
		}
	}
	return s.bucket.AbortOrphans(ctx, s.names.prefix+"part-", s.names.isPart)
}

// Check says what Rewind would refuse, and changes nothing.
func (s *Sink) Check(ctx context.Context, to pipeline.Position) error {
	_, err := s.check(ctx, to)
	return err
}

// left is what a run that goes on finds.
type left struct {
	mark
	parts   []Part // sealed
	waiting []Part // of these, those that are not in the bucket
}

// check finds what is left of a run at a position, and refuses what is not what it was.
func (s *Sink) check(ctx context.Context, to pipeline.Position) (l left, err error) {
	if l.mark, err = parseMark(to); err != nil || to == "" {
		return l, err
	}
	if l.parts, err = s.sealed(ctx, l.mark); err != nil {
		return l, err
	}
	if l.waiting, err = s.missing(ctx, l.parts); err != nil {
		return l, err
	}
	if l.Rows > 0 {
		p, err := s.newPart(l.Parts + 1)
		if err != nil {
			return l, err
		}
		return l, p.out.Unchanged(l.File, nil)
	}
	return l, nil
}

// sealed returns the parts that were sealed: by the list in the spool, or where that is
// another, because dead letters were run again beside it, by the manifest.
func (s *Sink) sealed(ctx context.Context, m mark) ([]Part, error) {
	if m.Parts == 0 {
		return nil, nil
	}
	parts, err := s.spool.load(m.Parts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, spoolError(err)
	}
	if m.Ended && chainOf(parts) != m.Chain {
		if parts, err = s.readManifest(ctx); err != nil {
			return nil, err
		}
		parts = parts[:min(len(parts), m.Parts)]
	}
	if len(parts) != m.Parts || chainOf(parts) != m.Chain {
		return nil, changed("the list of parts in %s was changed", s.spool.dir)
	}
	return parts, nil
}

// missing returns the parts that are still to be uploaded. All others must be in the bucket
// as they were.
func (s *Sink) missing(ctx context.Context, parts []Part) (waiting []Part, err error) {
	found, err := s.parts(ctx)
	if err != nil {
		return nil, err
	}
	there := map[string]bucket.Object{}
	for _, o := range found {
		there[o.Key] = o
	}
	etags := s.spool.etags()
	for _, p := range parts {
		if info, err := os.Stat(s.spool.path(p.Key)); err == nil && info.Size() == p.Bytes {
			waiting = append(waiting, p)
			continue
		}
		o, ok := there[p.Key]
		switch {
		case !ok:
			return nil, changed("%s is gone", s.bucket.URL(p.Key))
		case o.Size != p.Bytes, etags[p.Number] != "" && o.ETag != "" && etags[p.Number] != o.ETag:
			return nil, changed("%s was changed", s.bucket.URL(p.Key))
		}
	}
	return waiting, nil
}

// changed refuses to go on with what somebody else had a hand in.
func changed(format string, args ...any) error {
	return pipeline.Fatal("output_changed", fmt.Errorf("%s ; put it back as it was, or start over with --fresh",
		fmt.Sprintf(format, args...)))
}

// Rewind goes on where a commit left the spool: parts that are sealed stay, the one that was
// open is cut back, all others go, uploads that were not ended as well.
func (s *Sink) Rewind(ctx context.Context, to pipeline.Position) error {
	if to == "" {
		return s.Start(ctx, true)
	}
	l, err := s.check(ctx, to)
	if err != nil {
		return err
	}
	if err := s.removeBehind(ctx, l.Parts); err != nil {
		return err
	}
	if err := s.spool.openList(l.parts); err != nil {
		return err
	}
	s.open, s.columns, s.ended, s.waiting, s.committed = nil, l.Columns, l.Ended, l.waiting, l.Parts
	s.count()
	keep := []string{listName, uploadedName}
	for _, p := range l.waiting {
		keep = append(keep, baseOf(p.Key))
	}
	if l.Rows > 0 {
		p, err := s.newPart(l.Parts + 1)
		if err != nil {
			return err
		}
		keep = append(keep, filepath.Base(p.out.Path))
	}
	if err := s.spool.removeBut(func(name string) bool { return slices.Contains(keep, name) }); err != nil {
		return spoolError(err)
	}
	if s.table != nil {
		rows, err := s.rowsAt(l.mark)
		if err != nil {
			return spoolError(err)
		}
		if err := s.table.restore(l.mark, rows); err != nil {
			return err
		}
	}
	if l.Rows == 0 {
		return nil
	}
	return s.reopen(l.mark)
}

// reopen goes on in the part that was open.
func (s *Sink) reopen(m mark) error {
	p, err := s.newPart(m.Parts + 1)
	if err != nil {
		return err
	}
	if under, ok := p.encoder.(codec.Continuer); ok {
		if err := under.Continue(m.Columns); err != nil {
			return pipeline.Fatal("output", err)
		}
	}
	if err := p.out.Rewind(m.File, nil, nil); err != nil {
		return err
	}
	p.rows, s.open = m.Rows, p
	return nil
}

// upload brings the first n parts into the bucket, as far as they are not there. A part that
// is there is removed from the spool.
func (s *Sink) upload(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 || s.waiting[0].Number > n {
			s.mu.Unlock()
			return nil
		}
		p := s.waiting[0]
		s.mu.Unlock()
		if err := s.uploadPart(ctx, p); err != nil {
			s.failed = err
			return err
		}
		s.mu.Lock()
		s.waiting = s.waiting[1:]
		s.count()
		s.mu.Unlock()
	}
}

func (s *Sink) uploadPart(ctx context.Context, p Part) error {
	path := s.spool.path(p.Key)
	file, err := os.Open(path)
	if err != nil {
		return spoolError(err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	sum, err := hex.DecodeString(p.SHA256)
	if err != nil {
		return spoolError(err)
	}
	etag, err := s.bucket.Put(ctx, bucket.Upload{Key: p.Key, Body: file, Size: p.Bytes, SHA256: sum, ContentType: s.names.contentType()})
	if err != nil {
		return err
	}
	if err := s.spool.noteUploaded(uploaded{p.Number, etag}); err != nil {
		return err
	}
	return s.spool.removePart(p.Key)
}

// left says where rows are that could not be uploaded.
func (s *Sink) left() error {
	if len(s.waiting) == 0 {
		return nil
	}
	return fmt.Errorf("%d of the parts did not reach the bucket; what they hold is kept in %s", len(s.waiting), s.spool.dir)
}

// Manifest is what the object _manifest.json holds: it is written when all parts are there.
type Manifest struct {
	Version int `json:"version"`
	// Rows and Bytes are those of all parts.
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
	Parts []Part `json:"parts"`
}

func (s *Sink) putManifest(ctx context.Context) error {
	m := Manifest{Version: 1, Parts: s.spool.parts}
	if m.Parts == nil {
		m.Parts = []Part{}
	}
	for _, p := range m.Parts {
		m.Rows, m.Bytes = m.Rows+p.Rows, m.Bytes+p.Bytes
	}
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	return s.bucket.PutBytes(ctx, s.names.manifest(), append(text, '\n'), "application/json")
}

func (s *Sink) readManifest(ctx context.Context) ([]Part, error) {
	text, err := s.bucket.Bytes(ctx, s.names.manifest())
	if bucket.IsCode(err, bucket.CodeNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, changed("%s was changed", s.bucket.URL(s.names.manifest()))
	}
	return m.Parts, nil
}
