package llm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rowmill/rowmill/internal/cache"
	"github.com/rowmill/rowmill/pipeline"
)

// DefaultCache is the file of cache: true.
const DefaultCache = ".rowmill/cache.db"

// Cache is the path of a file that keeps answers; empty for none. It is written
// true, for .rowmill/cache.db in the working directory, false, or as a path.
type Cache string

// UnmarshalText parses "true", "false" or a path.
func (c *Cache) UnmarshalText(text []byte) error {
	switch s := string(text); strings.ToLower(s) {
	case "true":
		*c = DefaultCache
	case "false":
		*c = ""
	case "", "yes", "no", "on", "off", "~", "null":
		return errors.New(strconv.Quote(s) + " is neither true, false nor the path of a file")
	default:
		*c = Cache(s)
	}
	return nil
}

// String returns the path, "false" for none.
func (c Cache) String() string {
	if c == "" {
		return "false"
	}
	return string(c)
}

// reply is an answer, and where it came from.
type reply struct {
	text, finish string
	endpoint     int  // which one gave it
	free         bool // kept from another request, or that of another row
}

// recalls reports whether a row may get an answer without a request of its own.
func (c Config) recalls() bool { return c.Cache != "" || c.Coalesce }

// memory is the answers that a stage need not ask for again.
type memory struct {
	identities [][]byte // of each endpoint, what shapes its answers beside the body
	files      *cache.Files
	flights    cache.Flights[reply]

	mu      sync.Mutex // guards what follows
	file    *cache.File
	release func() error
	closed  bool
}

// identityOf digests what shapes the answers and does not stand in the body: whose
// interface it is, where, in which version, and with which headers. What says who
// pays is no part of it.
func identityOf(c Config) []byte {
	parts := []string{"answer 1", c.Provider, addressOf(c), c.APIVersion, c.Deployment}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if canonical := http.CanonicalHeaderKey(name); !isKeyHeader(canonical) {
			parts = append(parts, canonical, c.Headers[name].Reveal())
		}
	}
	var b []byte
	for _, p := range parts {
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// addressOf is host and path of where the model is asked; of the simulator, which is
// somewhere else each time, what its answers are drawn from.
func addressOf(c Config) string {
	if c.Provider == ProviderSimulator {
		if c.Simulator == nil {
			return "0"
		}
		return strconv.FormatInt(c.Simulator.Seed, 10)
	}
	u, err := url.Parse(c.BaseURL)
	if err != nil { // Validate has refused it
		return c.BaseURL
	}
	return strings.ToLower(u.Host) + u.EscapedPath()
}

// keyOfRequest digests a request: all that shapes its answer. Sample counts the requests
// with which one record asks the same again because it wants another answer, from 0.
func keyOfRequest(identity, body []byte, sample uint64) cache.Key {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(slices.Clip(identity), sample))
	h.Write(body)
	return cache.Key(h.Sum(nil))
}

// requestKeys returns the key of a row's request to each endpoint, and one for all of them.
func (s *Stage) requestKeys(bodies [][]byte) (keys []cache.Key, all cache.Key) {
	h := sha256.New()
	for i, to := range s.endpoints {
		key := keyOfRequest(s.memory.identities[i], bodies[to.request], 0)
		keys = append(keys, key)
		h.Write(key[:])
	}
	return keys, cache.Key(h.Sum(nil))
}

// answer returns the answer to a request: one that is kept, that of the same request
// of another row, or a new one.
func (s *Stage) answer(ctx context.Context, bodies [][]byte, text int) (reply, error) {
	if !s.config.recalls() {
		return s.turn(ctx, bodies, text)
	}
	keys, all := s.requestKeys(bodies)
	if !s.config.Coalesce {
		return s.recall(ctx, keys, bodies, text)
	}
	got, shared, err := s.memory.flights.Do(ctx, all, func() (reply, error) { return s.recall(ctx, keys, bodies, text) })
	if shared {
		if !got.free { // else the first row had it from the cache, and so has this one
			s.usage.shared.Add(1)
		} else {
			s.usage.kept.Add(1)
		}
		got.free = true
	}
	return got, err
}

// recall returns the answer of one of the endpoints that is kept, or asks and keeps the
// answer.
func (s *Stage) recall(ctx context.Context, keys []cache.Key, bodies [][]byte, text int) (reply, error) {
	if s.config.Cache == "" {
		return s.turn(ctx, bodies, text)
	}
	file, err := s.openCache()
	if err != nil {
		return reply{}, err
	}
	for _, key := range keys {
		value, found, err := file.Get(key)
		if err != nil {
			return reply{}, pipeline.Fatal("cache", err)
		}
		if kept, ok := decodeReply(value); found && ok && slices.Contains(s.config.AcceptFinish, kept.finish) {
			s.usage.kept.Add(1)
			return kept, nil
		}
	}
	got, err := s.turn(ctx, bodies, text)
	if err == nil {
		file.Put(keys[got.endpoint], got.encode())
	}
	return got, err
}

// openCache returns the cache; the first call opens it.
func (s *Stage) openCache() (*cache.File, error) {
	m := &s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.file != nil:
		return m.file, nil
	case m.closed:
		return nil, pipeline.Fatal("closed", errors.New("the stage is closed"))
	}
	file, release, err := m.files.Open(string(s.config.Cache))
	if err != nil {
		return nil, pipeline.Fatal("cache", err)
	}
	m.file, m.release = file, release
	return file, nil
}

// close gives the cache back. The error is of a write that failed too.
func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.file == nil {
		return nil
	}
	release := m.release
	m.file, m.release = nil, nil
	return release()
}

// encode returns the answer as it is kept. Its finish reason is kept too: whether the
// answer counts is for who reads it to say.
func (r reply) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(len(r.finish)))
	return append(append(b, r.finish...), r.text...)
}

// decodeReply reads what encode returned.
func decodeReply(b []byte) (reply, bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return reply{}, false
	}
	b = b[size:]
	return reply{finish: string(b[:n]), text: string(b[n:]), free: true}, n < uint64(len(b))
}
