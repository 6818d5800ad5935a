package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/rowmill/rowmill/internal/bucket"
	"github.com/rowmill/rowmill/pipeline"
)

// isPattern reports whether a key has a sign that stands for others.
func isPattern(key string) bool { return strings.ContainsAny(key, `*?[{`) }

// nameOf is what stands behind the last slash of a key.
func nameOf(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// isHidden reports whether an object is none that is meant by a pattern: those of other
// programs, which say that all is there or how it is, are no data.
func isHidden(key string) bool {
	name := nameOf(key)
	return name == "" || name[0] == '_' || name[0] == '.' // without a name: the mark of a folder
}

// toRead are the objects as they were identified, else as they are.
func (s *Source) toRead(ctx context.Context) ([]bucket.Object, error) {
	if s.found != nil {
		return s.found, nil
	}
	return s.objects(ctx)
}

// objects returns the objects to read, in order, none twice. There is at least one.
func (s *Source) objects(ctx context.Context) ([]bucket.Object, error) {
	if len(s.config.Key) == 0 {
		found, err := s.bucket.List(ctx, s.config.Prefix, func(key string) bool { return !isHidden(key) })
		if err == nil && len(found) == 0 {
			err = s.none("no object has a key that begins so", s.config.Prefix)
		}
		return found, err
	}
	var all []bucket.Object
	seen := map[string]bool{}
	for _, key := range s.config.Key {
		found, err := s.expand(ctx, key)
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			if !seen[o.Key] {
				seen[o.Key] = true
				all = append(all, o)
			}
		}
	}
	return all, nil
}

// expand returns the objects that a key means. One that exists is meant itself, whatever
// signs are in it.
func (s *Source) expand(ctx context.Context, key string) ([]bucket.Object, error) {
	if !isPattern(key) {
		o, err := s.bucket.Head(ctx, key)
		return []bucket.Object{o}, err
	}
	hidden := isHidden(key)
	found, err := s.bucket.List(ctx, literal(key), func(k string) bool {
		return k == key || (hidden || !isHidden(k)) && doublestar.MatchUnvalidated(key, k)
	})
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(found, func(o bucket.Object) bool { return o.Key == key }); i >= 0 {
		return found[i : i+1], nil
	}
	if len(found) == 0 {
		return nil, s.none("no object has such a key", key)
	}
	return found, nil
}

// literal is what every key begins with that a pattern means.
func literal(pattern string) string { return pattern[:strings.IndexAny(pattern, `*?[{\`)] }

func (s *Source) none(why, key string) error {
	return pipeline.Fatal(bucket.CodeNotFound, fmt.Errorf("%s: %s", s.bucket.URL(key), why))
}

// identity is what the objects are known by in a later run. A hash stands for the list,
// which may be long: it is in every checkpoint.
type identity struct {
	Objects int    `json:"objects"`
	Bytes   int64  `json:"bytes"`
	Last    string `json:"last"`
	// Hash is of their keys, sizes and entity tags, in order.
	Hash string `json:"hash"`
}

func identify(objects []bucket.Object) identity {
	sum := sha256.New()
	id := identity{Objects: len(objects), Last: objects[len(objects)-1].Key}
	for _, o := range objects {
		id.Bytes += o.Size
		_, _ = fmt.Fprintf(sum, "%q %d %q\n", o.Key, o.Size, o.ETag) // a hash has no error
	}
	id.Hash = hex.EncodeToString(sum.Sum(nil)[:16])
	return id
}

// Identify lists the objects: how many, how large, and a hash of their keys and entity
// tags. Records reads those then.
func (s *Source) Identify(ctx context.Context) (string, error) {
	objects, err := s.objects(ctx)
	if err != nil {
		return "", err
	}
	s.found = objects
	text, err := json.Marshal(identify(objects))
	return string(text), err
}

// Compare says how the objects differ from those of an earlier run. They have grown if
// others follow them. Everything else is an error: the rows would not be what they were.
func (s *Source) Compare(ctx context.Context, was string) (pipeline.Change, error) {
	objects, err := s.toRead(ctx)
	if err != nil {
		return pipeline.Same, err
	}
	var then identity
	if err := json.Unmarshal([]byte(was), &then); err != nil || then.Objects < 1 {
		return pipeline.Same, errors.New("what is known of the objects then is damaged")
	}
	if len(objects) >= then.Objects && identify(objects[:then.Objects]) == then {
		if len(objects) > then.Objects {
			return pipeline.Grown, nil
		}
		return pipeline.Same, nil
	}
	return pipeline.Same, s.changed(objects, then)
}

// changed says as much of the difference as can be known.
func (s *Source) changed(objects []bucket.Object, then identity) error {
	i := slices.IndexFunc(objects, func(o bucket.Object) bool { return o.Key == then.Last })
	switch {
	case i < 0:
		return fmt.Errorf("%s is gone", s.bucket.URL(then.Last))
	case i+1 < then.Objects:
		return fmt.Errorf("there were %d objects up to %s, now there are %d: some are gone", then.Objects, s.bucket.URL(then.Last), i+1)
	case i+1 > then.Objects:
		return fmt.Errorf("there were %d objects up to %s, now there are %d; a new one may only come behind all others", then.Objects, s.bucket.URL(then.Last), i+1)
	}
	now := identify(objects[:i+1])
	return fmt.Errorf("one of the %d objects up to %s is not what it was (%d bytes in all, now %d)", then.Objects, s.bucket.URL(then.Last), then.Bytes, now.Bytes)
}

// Seek has Records begin with the row that stood at a place. In objects that are not
// compressed nothing in front of it is read but a header.
func (s *Source) Seek(_ context.Context, at pipeline.Origin) error {
	s.start = &at
	return nil
}

// skipTo leaves out the objects in front of where the rows begin: how many they are. The
// header of the first is read all the same.
func (s *Source) skipTo(ctx context.Context, objects []bucket.Object, columns *columns) (int, error) {
	i := slices.IndexFunc(objects, func(o bucket.Object) bool { return s.bucket.URL(o.Key) == s.start.Path })
	if i < 0 {
		return 0, pipeline.Fatal("source", fmt.Errorf("%s is gone", s.start.Path))
	}
	if i == 0 {
		return 0, nil
	}
	first := objects[0]
	rows, err := s.open(ctx, first, io.NewSectionReader(s.bucket.At(ctx, first), 0, first.Size))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	if err := columns.check(s.bucket.URL(first.Key), rows); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return i, nil
}
