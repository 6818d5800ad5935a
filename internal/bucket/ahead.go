package bucket

import (
	"context"
	"errors"
	"io"
	"math/bits"
	"sync"
)

// chunkBytes is how much is fetched with one request: so much that its round trip hardly
// counts, and so little that the collector, which lets the heap grow by a multiple of what
// is held, has it grow little. Requests that end soon also
// suit a pipeline that takes hours over an object: no server keeps a connection open for
// as long.
const chunkBytes = 4 << 20

// Fetched is how many bytes are held with so many chunks fetched ahead.
func Fetched(ahead int) int64 { return int64(ahead+1) * chunkBytes }

// Ahead reads objects one after the other. Their bytes are fetched in chunks, some of
// them before they are asked for, of the objects that follow as well: so many small objects
// come as fast as one large one. It is for one goroutine.
type Ahead struct {
	ctx     context.Context
	bucket  *Bucket
	objects []Object
	chunks  int // fetched ahead

	next    place // of the chunk to be asked for next
	pending []*chunk
	free    [][]byte
	cancel  context.CancelFunc // of what is pending
	epoch   context.Context
	workers sync.WaitGroup
}

// place is a byte of an object.
type place struct {
	object int
	offset int64
}

// chunk is a part of an object that is being fetched.
type chunk struct {
	at   place
	data []byte
	err  error
	done chan struct{} // closed when data and err are there
}

// Ahead returns a reading of objects, with so many chunks of 4 MiB fetched ahead of the
// one that is being read; 0 fetches each when it is asked for. To be closed.
func (b *Bucket) Ahead(ctx context.Context, objects []Object, chunks int) *Ahead {
	a := &Ahead{ctx: ctx, bucket: b, objects: objects, chunks: chunks}
	a.epoch, a.cancel = context.WithCancel(ctx)
	return a
}

// Close ends what is being fetched, and waits for it.
func (a *Ahead) Close() {
	a.cancel()
	a.workers.Wait()
	a.pending, a.free = nil, nil
}

// Open returns the bytes of the i-th object. They are read to the end, or left, before
// the next one is opened.
func (a *Ahead) Open(i int) io.ReadSeeker { return &objectReader{a: a, at: place{i, 0}} }

// restart forgets what is pending and goes on at a place.
func (a *Ahead) restart(at place) {
	a.cancel()
	for _, c := range a.pending {
		<-c.done
		a.free = append(a.free, c.data[:cap(c.data)])
	}
	a.pending = a.pending[:0]
	a.epoch, a.cancel = context.WithCancel(a.ctx)
	a.next = at
}

// fill asks for chunks until there are enough.
func (a *Ahead) fill() {
	for len(a.pending) <= a.chunks && a.next.object < len(a.objects) {
		o := a.objects[a.next.object]
		n := min(a.bucket.chunk, o.Size-a.next.offset)
		if n <= 0 {
			a.next = place{a.next.object + 1, 0}
			continue
		}
		c := &chunk{at: a.next, data: a.buffer(int(n)), done: make(chan struct{})}
		a.pending = append(a.pending, c)
		a.next.offset += n
		ctx := a.epoch
		a.workers.Go(func() {
			defer close(c.done)
			c.err = a.bucket.fetch(ctx, o, c.at.offset, c.data)
		})
	}
}

// buffer returns n bytes. Objects of about the same size use each other's: what is made has
// the next power of two.
func (a *Ahead) buffer(n int) []byte {
	for i, b := range a.free {
		if cap(b) >= n {
			a.free[i] = a.free[len(a.free)-1]
			a.free = a.free[:len(a.free)-1]
			return b[:n]
		}
	}
	a.free = nil // they are too small
	return make([]byte, n, min(1<<bits.Len(uint(n-1)), int(a.bucket.chunk)))
}

// take returns the chunk at a place, once it is there.
func (a *Ahead) take(at place) (*chunk, error) {
	if len(a.pending) > 0 && a.pending[0].at != at || len(a.pending) == 0 && a.next != at {
		a.restart(at)
	}
	a.fill()
	c := a.pending[0]
	select {
	case <-c.done:
	case <-a.ctx.Done():
		return nil, context.Cause(a.ctx)
	}
	if c.err != nil {
		return nil, c.err
	}
	a.pending = a.pending[1:]
	return c, nil
}

// objectReader gives the bytes of one object.
type objectReader struct {
	a     *Ahead
	at    place
	taken *chunk // the one that is being read
	rest  []byte // of it
}

// Read reads.
func (r *objectReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.rest) == 0 {
		r.release()
		if r.at.offset >= r.a.objects[r.at.object].Size {
			return 0, io.EOF
		}
		c, err := r.a.take(r.at)
		if err != nil {
			return 0, err
		}
		r.taken, r.rest = c, c.data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.at.offset += int64(n)
	return n, nil
}

// release has the buffer used again, and the next chunks asked for.
func (r *objectReader) release() {
	if r.taken == nil {
		return
	}
	r.a.free = append(r.a.free, r.taken.data[:cap(r.taken.data)])
	r.taken = nil
}

// Seek goes on elsewhere. What was fetched ahead and is not used then is forgotten.
func (r *objectReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at.offset
	case io.SeekEnd:
		offset += r.a.objects[r.at.object].Size
	}
	if offset < 0 {
		return 0, errors.New("seek in front of the first byte")
	}
	if offset != r.at.offset {
		r.release()
		r.rest, r.at.offset = nil, offset
	}
	return offset, nil
}
