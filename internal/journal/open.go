package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// CorruptError is damage that no crash can have done.
type CorruptError struct {
	Path   string
	Offset int64
}

// Error says where the damage is.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d; --fresh starts over", e.Path, e.Offset)
}

// Mark is how far a journal is known to be durable.
type Mark struct {
	// File is the oldest file that is needed.
	File int `json:"file"`
	// Last is the newest one at the time, and Size how much of that was durable.
	Last int   `json:"last"`
	Size int64 `json:"size"`
}

// Torn is what a crash has left at the end of a journal, and was cut off.
type Torn struct {
	Path   string
	Offset int64
	Bytes  int64
	// Whole says that there were whole entries behind the torn one.
	Whole bool
}

// Open opens the journal of a run that was killed. Files older than the mark says are
// deleted. What is torn at the end is cut off; damage in front of what was durable is a
// [CorruptError].
func Open(o Options, m Mark) (*Journal, Torn, error) {
	j := open(o)
	torn, err := j.load(m)
	if err != nil {
		return nil, Torn{}, errors.Join(err, j.closeFiles())
	}
	return j, torn, nil
}

func (j *Journal) load(m Mark) (torn Torn, err error) {
	numbers, err := j.numbers()
	if err != nil {
		return torn, err
	}
	old := func(n int) bool { return n < m.File }
	for _, n := range numbers {
		if old(n) {
			if err := j.o.FS.Remove(j.path(n)); err != nil {
				return torn, err
			}
		}
	}
	numbers = slices.DeleteFunc(numbers, old)
	for _, n := range []int{m.File, max(m.File, m.Last)} {
		if !slices.Contains(numbers, n) {
			return torn, fmt.Errorf("%s is missing; --fresh starts over", j.path(n))
		}
	}
	// Who made the files may have been killed before they were durable.
	if err := j.o.FS.SyncDir(j.o.Dir); err != nil {
		return torn, err
	}
	j.first, j.needed = m.File, m.File
	for i, n := range numbers {
		durable := int64(0)
		switch {
		case n < m.Last:
			durable = math.MaxInt64
		case n == m.Last:
			durable = m.Size
		}
		last := i == len(numbers)-1
		if !last && n >= m.Last {
			// A newer one was begun after all of this was durable.
			durable = math.MaxInt64
		}
		if torn, err = j.read(n, durable); err != nil {
			return torn, err
		}
	}
	return torn, nil
}

// numbers are those of the files there are.
func (j *Journal) numbers() ([]int, error) {
	entries, err := j.o.FS.ReadDir(j.o.Dir)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if text, ok := strings.CutPrefix(filepath.Base(e.Name()), "journal."); ok {
			if n, err := strconv.Atoi(text); err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	slices.SortFunc(numbers, cmp.Compare[int])
	return numbers, nil
}

// read reads a file into the index. It is the one that is written to, unless another
// follows.
func (j *Journal) read(number int, durable int64) (torn Torn, err error) {
	path := j.path(number)
	file, err := j.o.FS.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return torn, err
	}
	j.files[number], j.last = file, number
	data, err := io.ReadAll(file)
	if err != nil {
		return torn, fmt.Errorf("%s: %w", path, err)
	}
	at := 0
	if strings.HasPrefix(string(data), fileHead) {
		at = len(fileHead)
		for {
			e, size, err := readFrame(data[at:])
			if err != nil {
				break
			}
			j.note(e.Key, place{e.Guard, number, int64(at), size})
			at += size
		}
	}
	if int64(at) < min(durable, int64(len(data))) || durable < math.MaxInt64 && int64(len(data)) < durable {
		return torn, &CorruptError{path, int64(at)}
	}
	j.size = int64(at)
	if at == len(data) && at > 0 { // what is there may not be durable, though it can be read
		_, err = file.Seek(j.size, io.SeekStart)
		return Torn{}, errors.Join(err, file.Sync())
	}
	torn = Torn{path, int64(at), int64(len(data) - at), wholeBehind(data[at:])}
	return torn, j.cut(number, at)
}

// cut ends a file behind its last whole entry.
func (j *Journal) cut(number, at int) error {
	file := j.files[number]
	if at == 0 { // not even its head was durable
		if err := file.Close(); err != nil {
			return err
		}
		return j.begin(number)
	}
	err := errors.Join(file.Truncate(int64(at)), file.Sync())
	if err == nil {
		_, err = file.Seek(int64(at), io.SeekStart)
	}
	return err
}

// wholeBehind reports whether there is a whole entry somewhere behind what is torn.
func wholeBehind(data []byte) bool {
	for i := 1; i < len(data)-headSize; i++ {
		if _, _, err := readFrame(data[i:]); err == nil {
			return true
		}
	}
	return false
}

// inOrder are the keys of the live entries in the order in which they were written.
func (j *Journal) inOrder() []Key {
	keys := make([]Key, 0, len(j.index))
	for k := range j.index {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b Key) int {
		x, y := j.index[a], j.index[b]
		return cmp.Or(cmp.Compare(x.file, y.file), cmp.Compare(x.at, y.at))
	})
	return keys
}

// Mark makes durable what was appended and says so, for a checkpoint. Others append
// meanwhile.
func (j *Journal) Mark() (Mark, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.broken(); err != nil {
		return Mark{}, err
	}
	if err := j.reach(j.queued); err != nil {
		return Mark{}, err
	}
	for j.syncing {
		j.written.Wait()
	}
	m := Mark{File: j.needed, Last: j.last, Size: j.size - (j.queued - j.done)}
	j.syncWritten()
	return m, j.err
}

// Close makes durable what was written and lets go of the files.
func (j *Journal) Close() error {
	_, err := j.Mark()
	j.mu.Lock()
	defer j.mu.Unlock()
	if errors.Is(err, errClosed) {
		return nil
	}
	j.closed = true
	if j.timer != nil {
		j.timer.Stop()
	}
	for j.writing || j.syncing {
		j.written.Wait()
	}
	return errors.Join(err, j.closeFiles())
}

func (j *Journal) closeFiles() error {
	var errs error
	for n, file := range j.files {
		errs = errors.Join(errs, file.Close())
		delete(j.files, n)
	}
	return errs
}

// Delete removes the files of a journal that is closed: nobody will go on with the run.
func (j *Journal) Delete() error {
	numbers, err := j.numbers()
	for _, n := range numbers {
		err = errors.Join(err, j.o.FS.Remove(j.path(n)))
	}
	return err
}
