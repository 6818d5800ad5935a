package rowfile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
)

// tailBytes is how much of a file, in front of a position, tells whether it still is
// the one that was written.
const tailBytes = 4 << 10

// Mark is the position of a file.
type Mark struct {
	// Size is the length of the file; 0 if nothing was written.
	Size int64 `json:"size"`
	// Tail is a hash of the last bytes.
	Tail string `json:"tail,omitempty"`
	// State is the compressor's.
	State string `json:"state,omitempty"`
}

// position is where the file stands. It does not change unless something is written.
func (o *Output) position() pipeline.Position {
	m := Mark{Size: o.raw.n}
	if m.Size > 0 {
		m.Tail, m.State = hashOf(o.raw.tail), o.packed.State()
	}
	text, _ := json.Marshal(m) // two texts and a number are always JSON
	return pipeline.Position(text)
}

func hashOf(tail []byte) string {
	sum := sha256.Sum256(tail)
	return hex.EncodeToString(sum[:8])
}

// ParseMark reads a position.
func ParseMark(p pipeline.Position) (m Mark, err error) {
	if p == "" {
		return m, nil
	}
	if err := json.Unmarshal([]byte(p), &m); err != nil || m.Size < 0 {
		return m, fmt.Errorf("%q is no position of a file", p)
	}
	return m, nil
}

// Rewind opens the output where a commit left it, and cuts off what is behind. Where
// rows stay, there is no head, and see gets the file to look at what is in front of
// them, before anything is changed; nil for nothing to see.
func (o *Output) Rewind(to pipeline.Position, head []byte, see func(io.Reader) error) error {
	m, err := ParseMark(to)
	switch {
	case err != nil:
		return o.failed(err)
	case m.Size == 0:
		return o.begin(head)
	}
	o.resolve()
	file, err := o.reopen(m, see)
	if err != nil {
		return err
	}
	if o.packed, err = codec.ContinueCompressor(&o.raw, o.Path, o.Compression, m.State); err != nil {
		return o.failed(errors.Join(err, file.Close()))
	}
	if err := cut(file, m.Size); err != nil {
		o.packed = nil
		return o.failed(errors.Join(err, file.Close()))
	}
	o.file, o.raw.Writer, o.regular, o.whole = file, file, true, m.Size
	return nil
}

// Unchanged says what rewind would refuse, and changes nothing.
func (o *Output) Unchanged(to pipeline.Position, see func(io.Reader) error) error {
	m, err := ParseMark(to)
	if err != nil {
		return o.failed(err)
	}
	if m.Size == 0 {
		return nil
	}
	file, err := o.reopen(m, see)
	if err != nil {
		return err
	}
	return o.failed(file.Close())
}

// reopen opens the file if it still is what it was at the mark.
func (o *Output) reopen(m Mark, see func(io.Reader) error) (fsys.File, error) {
	info, err := o.files().Stat(o.Path)
	switch {
	case IsStdout(o.Path), errors.Is(err, fs.ErrNotExist):
		return nil, o.changed("is gone")
	case err != nil:
		return nil, o.failed(err)
	case !info.Mode().IsRegular():
		return nil, o.changed("is no file any more")
	}
	file, err := o.files().OpenFile(o.Path, os.O_RDWR, 0)
	if err != nil {
		return nil, o.failed(err)
	}
	if err := o.compare(file, m); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if see != nil {
		if err := see(io.NewSectionReader(file, 0, m.Size)); err != nil {
			return nil, errors.Join(o.failed(err), file.Close())
		}
	}
	return file, nil
}

// compare refuses a file that is shorter than it was, or another.
func (o *Output) compare(file fsys.File, m Mark) error {
	info, err := file.Stat()
	if err != nil {
		return o.failed(err)
	}
	if info.Size() < m.Size {
		return o.changed(fmt.Sprintf("has become shorter, %d bytes where %d were written", info.Size(), m.Size))
	}
	tail := make([]byte, min(m.Size, tailBytes))
	if _, err := file.ReadAt(tail, m.Size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return o.failed(err)
	}
	if hashOf(tail) != m.Tail {
		return o.changed(fmt.Sprintf("was changed: the bytes in front of byte %d are others", m.Size))
	}
	o.raw = counter{n: m.Size, tail: tail}
	return nil
}

// changed refuses to go on with an output that somebody else had a hand in.
func (o *Output) changed(how string) error {
	return pipeline.Fatal("output_changed", fmt.Errorf(
		"%s %s since the run that is to go on; put the file back as it was, or start over with --fresh", o.name(), how))
}

// cut cuts a file off and has it go on there.
func cut(file fsys.File, size int64) error {
	if err := file.Truncate(size); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	_, err := file.Seek(size, io.SeekStart)
	return err
}

// Delivery is what the output promises: a file is cut back, all else is gone once it
// is written.
func (o *Output) Delivery() pipeline.Delivery {
	if IsStdout(o.Path) {
		return pipeline.NotKept
	}
	if info, err := o.files().Stat(o.Path); err == nil && !info.Mode().IsRegular() {
		return pipeline.NotKept
	}
	return pipeline.ExactlyOnce
}
