package bucket

import (
	"context"
	"io"
	"slices"
	"sync/atomic"
)

// Blocks gives the bytes of an object by place, for formats of which several places are read
// in turns, each from front to back: it fetches blocks, and keeps those that were used last.
// It is for one goroutine.
type Blocks struct {
	ctx    context.Context
	bucket *Bucket
	object Object
	wanted []Extent // sorted; nil for all of it
	size   int64    // of a block at most
	most   int      // blocks that are kept

	kept []block // that used last at the end
	read atomic.Int64
}

// Extent is a part of an object: from a byte up to another, which is no part of it.
type Extent struct{ From, To int64 }

// block is a part of an object that was fetched.
type block struct {
	from int64
	data []byte
}

// The bounds of a block: a request for less takes longer than it brings, more is kept for
// each place.
const (
	leastBlock = 64 << 10
	mostBlock  = 4 << 20
)

// Blocks returns the bytes of an object. It fetches nothing yet.
func (b *Bucket) Blocks(ctx context.Context, o Object) *Blocks {
	return &Blocks{ctx: ctx, bucket: b, object: o, size: leastBlock, most: 2}
}

// Plan says what is going to be read: some extents, in their order, with so many places at a
// time, for which so many bytes are held, or a little more where there are very many.
func (b *Blocks) Plan(wanted []Extent, places int, bytes int64) {
	b.wanted = nil
	for _, e := range wanted {
		if n := len(b.wanted); n > 0 && e.From <= b.wanted[n-1].To+leastBlock { // cheaper in one request
			b.wanted[n-1].To = max(b.wanted[n-1].To, e.To)
		} else {
			b.wanted = append(b.wanted, e)
		}
	}
	b.most = places + 1
	b.size = min(max(bytes/int64(b.most), leastBlock), mostBlock)
	b.kept = nil
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

// at returns the block in which a byte is.
func (b *Blocks) at(place int64) (block, error) {
	i := slices.IndexFunc(b.kept, func(k block) bool { return k.from <= place && place < k.from+int64(len(k.data)) })
	if i >= 0 {
		found := b.kept[i]
		b.kept = append(slices.Delete(b.kept, i, i+1), found)
		return found, nil
	}
	n := int(min(b.size, b.end(place)-place))
	data := b.buffer(n)
	if err := b.bucket.fetch(b.ctx, b.object, place, data); err != nil {
		return block{}, err
	}
	b.read.Add(int64(n))
	b.kept = append(b.kept, block{place, data})
	return b.kept[len(b.kept)-1], nil
}

// buffer returns n bytes: that of the block that was not used for longest, if there are enough
// blocks.
func (b *Blocks) buffer(n int) []byte {
	if len(b.kept) < b.most {
		return make([]byte, n)
	}
	data := b.kept[0].data
	b.kept = slices.Delete(b.kept, 0, 1)
	if cap(data) < n {
		return make([]byte, n)
	}
	return data[:n]
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
