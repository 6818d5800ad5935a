package s3_test

import (
	"bytes"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/rowmill/rowmill/internal/bucket"
	"github.com/rowmill/rowmill/internal/bucket/buckettest"
)

// layout is how the columns of an object stand in it.
type layout struct{ columns, groups, chunk int }

// TestBlocksAreFetchedOnce where row groups are small, so that one block holds parts of many
// columns, and each of them wants the one behind it.
func TestBlocksAreFetchedOnce(t *testing.T) {
	t.Parallel()
	for _, l := range []layout{{1, 3, 1 << 20}, {4, 100, 20 << 10}, {50, 20, 10 << 10}, {50, 1, 200 << 10}, {200, 5, 6 << 10}} {
		t.Run(fmt.Sprintf("%+v", l), func(t *testing.T) {
			t.Parallel()
			data := make([]byte, l.columns*l.groups*l.chunk)
			for i := range data {
				data[i] = byte(i*7 + i>>9)
			}
			server := buckettest.New(t)
			server.Put(t, "o", string(data))
			var fetched atomic.Int64
			server.Set(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				var first, last int64
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err == nil {
					fetched.Add(last - first + 1)
				}
				return false
			})
			b := bucket.Open(bucket.Config{Bucket: buckettest.Name, Endpoint: server.URL}, buckettest.Env())
			defer b.Close()
			blocks := b.Blocks(t.Context(), bucket.Object{Key: "o", Size: int64(len(data))})
			defer blocks.Close()
			blocks.Plan(l.extents(), 3)
			l.read(t, blocks, data)
			if got := fetched.Load(); got < int64(len(data)) || got > int64(len(data))*5/4 {
				t.Errorf("%d bytes were fetched of %d", got, len(data))
			}
		})
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

// read reads pages of the columns in turns, as long as there are any.
func (l layout) read(t *testing.T, blocks *bucket.Blocks, data []byte) {
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
			}
		}
	}
}
