package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/bucket"
	"github.com/rowmill/rowmill/internal/bucket/buckettest"
)

// layout is how the columns of an object stand in it.
type layout struct{ columns, groups, chunk int }

// stored is an object on a server of its own.
type stored struct {
	data []byte
	// fault is asked about each request first, by its first byte, and reports whether it has
	// answered it; nil for none.
	fault atomic.Pointer[func(w http.ResponseWriter, from int) (answered bool)]

	mu            sync.Mutex
	requests, got int // how many there were, and for how many bytes
}

func (s *stored) set(fault func(w http.ResponseWriter, from int) (answered bool)) {
	s.fault.Store(&fault)
}

func (s *stored) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var first, last int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.requests, s.got = s.requests+1, s.got+last-first+1
	s.mu.Unlock()
	if fault := s.fault.Load(); fault == nil || !(*fault)(w, first) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
	}
}

// store puts an object with so many columns onto a server, and opens its blocks.
func (l layout) store(t *testing.T, ctx context.Context, ahead int) (*stored, *bucket.Blocks) {
	t.Helper()
	s := &stored{data: bytes.Repeat([]byte("what is at another place differs: 0123456789"), l.columns*l.groups*l.chunk/44+1)}
	s.data = s.data[:l.columns*l.groups*l.chunk]
	server := httptest.NewServer(s)
	b := bucket.Open(bucket.Config{Bucket: "rows", Endpoint: server.URL}, buckettest.Env())
	blocks := b.Blocks(ctx, bucket.Object{Key: "o", Size: int64(len(s.data))})
	t.Cleanup(func() {
		blocks.Close()
		b.Close()
		server.Close()
	})
	blocks.Plan(l.extents(), ahead)
	return s, blocks
}

// TestBlocksAreFetchedOnce where row groups are small, so that one block holds parts of many
// columns, and each of them wants the one behind it.
func TestBlocksAreFetchedOnce(t *testing.T) {
	t.Parallel()
	for l, most := range map[layout]int{{1, 3, 1 << 20}: 1, {4, 100, 20 << 10}: 6, {50, 20, 10 << 10}: 140, {50, 1, 200 << 10}: 85, {200, 5, 6 << 10}: 90} {
		t.Run(fmt.Sprintf("%+v", l), func(t *testing.T) {
			t.Parallel()
			s, blocks := l.store(t, t.Context(), 3)
			l.read(t, blocks, s.data)
			if s.got < len(s.data) || s.got > len(s.data)*5/4 || s.requests > most {
				t.Errorf("%d bytes were fetched of %d, with %d requests, want %d at most", s.got, len(s.data), s.requests, most)
			}
		})
	}
}

// TestBlocksHoldLittle of an object that is larger than what may be held of it.
func TestBlocksHoldLittle(t *testing.T) {
	t.Parallel()
	for ahead := range 2 {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			t.Parallel()
			l := layout{4, 4, 1 << 20}
			s, blocks := l.store(t, t.Context(), ahead)
			bound := bucket.Fetched(ahead)
			if most := l.read(t, blocks, s.data); most > bound || most < bound/2 {
				t.Errorf("%d bytes were held of %d, want %d at most", most, len(s.data), bound)
			}
		})
	}
}

// TestBlocksAreFetchedAhead: as many as was said, while the one is read that was asked for.
func TestBlocksAreFetchedAhead(t *testing.T) {
	t.Parallel()
	for ahead := range 3 {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			t.Parallel()
			l := layout{4, 1, 4 << 20}
			s, blocks := l.store(t, t.Context(), ahead)
			answer := make(chan struct{})
			s.set(func(_ http.ResponseWriter, from int) bool {
				if from > 0 {
					<-answer
				}
				return false
			})
			got := make([]byte, 1)
			if _, err := blocks.ReadAt(got, 0); err != nil || got[0] != s.data[0] {
				t.Errorf("got %v, %v", got, err)
			}
			if n := blocks.Pending(); n != ahead {
				t.Errorf("%d blocks are fetched ahead, want %d", n, ahead)
			}
			close(answer)
		})
	}
}

// TestABlockAheadThatFailed is fetched again when somebody needs it.
func TestABlockAheadThatFailed(t *testing.T) {
	t.Parallel()
	s, blocks := layout{1, 1, 12 << 20}.store(t, t.Context(), 1)
	var refused atomic.Bool
	s.set(func(w http.ResponseWriter, from int) bool {
		if from == 0 || refused.Swap(true) {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	got := make([]byte, 1)
	if _, err := blocks.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for blocks.Pending() > 0 {
		runtime.Gosched()
	}
	if !refused.Load() {
		t.Fatal("nothing was fetched ahead")
	}
	const place = 5 << 20
	if _, err := blocks.ReadAt(got, place); err != nil || got[0] != s.data[place] {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestBlocksEndWithTheContext, also while nobody answers.
func TestBlocksEndWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, blocks := layout{1, 1, 1 << 20}.store(t, ctx, 1)
	asked, answer := make(chan struct{}), make(chan struct{})
	s.set(func(http.ResponseWriter, int) bool {
		close(asked)
		<-answer
		return false
	})
	defer close(answer)
	ended := make(chan error, 1)
	go func() {
		_, err := blocks.ReadAt(make([]byte, 1), 0)
		ended <- err
	}()
	<-asked
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it goes on waiting")
	}
}

func (l layout) extents() [][]bucket.Extent {
	all := make([][]bucket.Extent, l.columns)
	for column := range all {
		for group := range l.groups {
			from := int64((group*l.columns + column) * l.chunk)
			all[column] = append(all[column], bucket.Extent{From: from, To: from + int64(l.chunk)})
		}
	}
	return all
}

// read reads pages of the columns in turns, as long as there are any. It returns how many bytes
// were held at most.
func (l layout) read(t *testing.T, blocks *bucket.Blocks, data []byte) (held int64) {
	t.Helper()
	const page = 16 << 10
	for group := range l.groups {
		for done := 0; done < l.chunk; done += page {
			for column := range l.columns {
				at := (group*l.columns+column)*l.chunk + done
				got := make([]byte, min(page, l.chunk-done))
				if _, err := blocks.ReadAt(got, int64(at)); err != nil || !bytes.Equal(got, data[at:at+len(got)]) {
					t.Fatalf("at %d: %v, or other bytes", at, err)
				}
				held = max(held, blocks.Held())
			}
		}
	}
	return held
}

// FuzzBlocks holds blocks to what an object holds, whatever was said to be wanted of it.
func FuzzBlocks(f *testing.F) {
	f.Add(uint64(1), 3, 2)
	f.Add(uint64(2), 1, 0)
	f.Fuzz(func(t *testing.T, seed uint64, places, ahead int) {
		random := rand.New(rand.NewPCG(seed, 0))
		data := make([]byte, 300<<10)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		server := buckettest.New(t)
		server.Put(t, "o", string(data))
		b := bucket.Open(bucket.Config{Bucket: buckettest.Name, Endpoint: server.URL}, buckettest.Env())
		defer b.Close()
		blocks := b.Blocks(t.Context(), bucket.Object{Key: "o", Size: int64(len(data))})
		defer blocks.Close()
		wanted := make([][]bucket.Extent, min(max(places, 1), 8))
		for at := int64(0); at < int64(len(data)); {
			for i := range wanted {
				from := at + random.Int64N(80<<10)
				at = from + random.Int64N(120<<10)
				wanted[i] = append(wanted[i], bucket.Extent{From: from, To: at})
			}
		}
		blocks.Plan(wanted, min(max(ahead, 0), 3))
		for range 20 {
			at := random.Int64N(int64(len(data)))
			got := make([]byte, random.IntN(150<<10))
			n, err := blocks.ReadAt(got, at)
			want := data[at:min(at+int64(len(got)), int64(len(data)))]
			if !bytes.Equal(got[:n], want) || (err != nil) != (len(want) < len(got)) || err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("%d bytes at %d: got %d, want %d: %v", len(got), at, n, len(want), err)
			}
		}
	})
}
