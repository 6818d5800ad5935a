package bucket

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// Blocks gives the bytes of an object by place, for formats of which several columns are read
// in turns, each from front to back: it fetches blocks, some of them before they are asked
// for, and keeps those that are being read. It is for one goroutine.
type Blocks struct {
	ctx    context.Context
	cancel context.CancelFunc
	bucket *Bucket
	object Object

	wanted  []Extent   // sorted, with what is between them if that is little; nil for all of the object
	columns [][]Extent // as they were given to Plan
	chunks  []columnChunk
	size    int64 // of a block at most
	most    int   // blocks that are kept
	ahead   int   // blocks that are being fetched before they are asked for, at most

	kept    []*block // that used last at the end
	current []*block // by column: the one that is being read
	workers sync.WaitGroup
	read    atomic.Int64
}

// Extent is a part of an object: from a byte up to another, which is no part of it.
type Extent struct{ From, To int64 }

// columnChunk is a part of an object that belongs to a column.
type columnChunk struct {
	Extent
	column, group int
}

// block is a part of an object that was fetched, or is being.
type block struct {
	from int64
	data []byte
	used bool

	done chan struct{} // closed when data and err are there
	err  error
}

func (k *block) to() int64               { return k.from + int64(len(k.data)) }
func (k *block) covers(place int64) bool { return k.from <= place && place < k.to() }

func (k *block) ready() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}

// The bounds of a block: a request for less takes longer than it brings, more is kept for
// each place.
const (
	leastBlock = 64 << 10
	mostBlock  = 4 << 20
)

// Blocks returns the bytes of an object. It fetches nothing yet. To be closed.
func (b *Bucket) Blocks(ctx context.Context, o Object) *Blocks {
	ctx, cancel := context.WithCancel(ctx)
	return &Blocks{ctx: ctx, cancel: cancel, bucket: b, object: o, size: leastBlock, most: 2}
}

// Close ends what is being fetched, and waits for it.
func (b *Blocks) Close() {
	b.cancel()
	b.workers.Wait()
	b.kept, b.current = nil, nil
}

// Plan says what is going to be read: columns, all at once, and each of them from its first
// extent to its last; every column has as many. As many blocks as ahead says are fetched at a
// time before they are asked for, and what is held is about [Fetched](ahead) bytes, or more
// where there are very many columns.
func (b *Blocks) Plan(columns [][]Extent, ahead int) {
	b.columns, b.chunks = columns, nil
	for column, extents := range columns {
		for group, e := range extents {
			b.chunks = append(b.chunks, columnChunk{e, column, group})
		}
	}
	slices.SortFunc(b.chunks, func(x, y columnChunk) int { return int(min(max(x.From-y.From, -1), 1)) })
	b.merge()
	b.ahead, b.most = ahead, 2*len(columns)+1
	if ahead == 0 || Fetched(ahead)/int64(b.most) < leastBlock { // too small to be many
		b.ahead, b.most = 0, len(columns)+1
	}
	b.size = min(max(Fetched(ahead)/int64(b.most), leastBlock), mostBlock)
	b.kept, b.current = nil, make([]*block, len(columns))
}

// merge puts chunks together that are cheaper in one request.
func (b *Blocks) merge() {
	b.wanted = nil
	for _, e := range b.chunks {
		if n := len(b.wanted); n > 0 && e.From <= b.wanted[n-1].To+leastBlock {
			b.wanted[n-1].To = max(b.wanted[n-1].To, e.To)
		} else {
			b.wanted = append(b.wanted, e.Extent)
		}
	}
}

// BytesRead is how much was fetched so far, and no more than there is. It may be called while
// others read.
func (b *Blocks) BytesRead() int64 { return min(b.read.Load(), b.object.Size) }

// ReadAt reads.
func (b *Blocks) ReadAt(p []byte, at int64) (n int, err error) {
	for n < len(p) {
		place := at + int64(n)
		if place >= b.object.Size {
			return n, io.EOF
		}
		held, err := b.at(place)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], held.data[place-held.from:])
	}
	return n, nil
}

// at returns the block in which a byte is, once it is there.
func (b *Blocks) at(place int64) (*block, error) {
	k := b.find(place)
	if k != nil && k.ready() && k.err != nil { // it has failed when nobody needed it
		b.drop(k)
		k = nil
	}
	if k == nil {
		k = b.begin(place, b.room(true))
	}
	k.used = true
	b.drop(k)
	b.kept = append(b.kept, k)
	if c, ok := b.chunkOf(place); ok {
		b.current[c.column] = k
		b.readAhead(c, k)
	}
	if <-k.done; k.err != nil {
		b.drop(k)
		return nil, k.err
	}
	return k, nil
}

func (b *Blocks) find(place int64) *block {
	for _, k := range b.kept {
		if k.covers(place) {
			return k
		}
	}
	return nil
}

func (b *Blocks) drop(k *block) {
	if i := slices.Index(b.kept, k); i >= 0 {
		b.kept = slices.Delete(b.kept, i, i+1)
	}
}

// begin begins to fetch the block at a place, into a buffer if that is large enough.
func (b *Blocks) begin(place int64, buffer []byte) *block {
	n := int(b.length(place))
	if cap(buffer) < n {
		buffer = make([]byte, n)
	}
	k := &block{from: place, data: buffer[:n], done: make(chan struct{})}
	b.kept = append(b.kept, k)
	b.workers.Go(func() {
		defer close(k.done)
		if k.err = b.bucket.fetch(b.ctx, b.object, k.from, k.data); k.err == nil {
			b.read.Add(int64(n))
		}
	})
	return k
}

// length is how long the block at a place is to be: nothing is fetched twice for the sake of a
// request less.
func (b *Blocks) length(place int64) int64 {
	n := min(b.size, b.end(place)-place)
	for _, k := range b.kept {
		if k.from > place {
			n = min(n, k.from-place)
		}
	}
	return n
}

// room makes room for a block, and returns the buffer of one that is no longer kept; nil if
// none had to go. The one that was used longest ago goes first, and those that a column is at
// only if they must.
func (b *Blocks) room(must bool) []byte {
	if len(b.kept) < b.most {
		return nil
	}
	i := slices.IndexFunc(b.kept, b.passed)
	if i < 0 && must {
		i = slices.IndexFunc(b.kept, (*block).ready)
	}
	if i < 0 {
		return nil
	}
	buffer := b.kept[i].data
	b.drop(b.kept[i])
	return buffer
}

// passed reports whether no column is in a block any more.
func (b *Blocks) passed(k *block) bool {
	return k.used && k.ready() && !slices.Contains(b.current, k)
}

// readAhead has the block fetched that the column needs next, and that of a column which is
// not begun yet.
func (b *Blocks) readAhead(c columnChunk, k *block) {
	if b.ahead == 0 {
		return
	}
	b.prefetch(b.behind(c, k))
	if next := c.column + 1; next < len(b.columns) && b.current[next] == nil && c.group < len(b.columns[next]) {
		b.prefetch(b.columns[next][c.group].From)
	}
}

// behind is the first byte behind a block that the column needs; -1 if there is none.
func (b *Blocks) behind(c columnChunk, k *block) int64 {
	for group, e := range b.columns[c.column][c.group:] {
		at := e.From
		if group == 0 || k.covers(at) {
			at = k.to()
		}
		switch {
		case at >= e.To:
			continue
		case at > k.to() && at < k.to()+leastBlock: // for the columns in between too
			return k.to()
		default:
			return at
		}
	}
	return -1
}

// prefetch has the block at a place fetched, if there is room for it.
func (b *Blocks) prefetch(place int64) {
	if place < 0 || place >= b.object.Size || b.find(place) != nil || b.pending() >= b.ahead {
		return
	}
	if buffer := b.room(false); buffer != nil || len(b.kept) < b.most {
		b.begin(place, buffer)
	}
}

// pending is how many blocks are being fetched that nobody waits for.
func (b *Blocks) pending() (n int) {
	for _, k := range b.kept {
		if !k.used && !k.ready() {
			n++
		}
	}
	return n
}

// chunkOf returns the chunk in which a byte is.
func (b *Blocks) chunkOf(place int64) (columnChunk, bool) {
	i, _ := slices.BinarySearchFunc(b.chunks, place, func(c columnChunk, place int64) int {
		if c.From <= place {
			return -1
		}
		return 1
	})
	if i == 0 || place >= b.chunks[i-1].To {
		return columnChunk{}, false
	}
	return b.chunks[i-1], true
}

// end is where the extent ends in which a byte is, else the next one or the object.
func (b *Blocks) end(place int64) int64 {
	i, _ := slices.BinarySearchFunc(b.wanted, place, func(e Extent, place int64) int {
		if e.To <= place {
			return -1
		}
		return 1
	})
	switch {
	case i == len(b.wanted):
		return b.object.Size
	case place < b.wanted[i].From:
		return min(b.wanted[i].From, b.object.Size)
	default:
		return min(b.wanted[i].To, b.object.Size)
	}
}
