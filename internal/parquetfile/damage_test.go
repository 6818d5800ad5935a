package parquetfile_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
)

// place is how an error says where it is: the file, and the row group where it is behind
// the footer.
var place = regexp.MustCompile(`^a\.parquet: (row group \d+ of \d+: (row \d+: )?column "|row group \d+, column \d+: |the footer |the schema |it |column ".*": the schema )`)

// harmless says what is wrong with how a damaged file was read: nothing, if it gave rows
// or an error that says where.
func harmless(t *testing.T, data []byte) (rows int) {
	t.Helper()
	got, unreadable, err := read(t, data, 0, parquetfile.Options{Path: "a.parquet", MaxRecord: 1 << 20})
	if class, _ := pipeline.Classify(err); err != nil && (class != pipeline.ClassFatal || !place.MatchString(err.Error())) {
		t.Errorf("an error that does not say where: %v", err)
	}
	return len(got) + len(unreadable)
}

func TestReadCutOff(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"duckdb.parquet", "hyparquet.parquet"} {
		data := file(t, "testdata/"+name)
		for n := range data {
			_, _, err := read(t, data[:n], 0, parquetfile.Options{Path: "a.parquet"})
			if err == nil || !place.MatchString(err.Error()) {
				t.Fatalf("%s: the first %d bytes of %d: %v", name, n, len(data), err)
			}
		}
	}
}

// TestReadFlipped changes each byte of small files, in some ways. Nothing may panic,
// hang, or be read as other rows in silence where there is a checksum.
func TestReadFlipped(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"duckdb.parquet", "hyparquet.parquet"} {
		data := file(t, "testdata/"+name)
		step := max(1, len(data)/80)
		if thorough() {
			step = 1
		}
		for i := 0; i < len(data); i += step {
			for _, bit := range []byte{1, 0x80, 0xff} {
				flipped := slices.Clone(data)
				flipped[i] ^= bit
				harmless(t, flipped)
			}
		}
	}
}

// TestReadHostileSizes has the footer and the pages claim more than there is.
func TestReadHostileSizes(t *testing.T) {
	data := file(t, "testdata/duckdb-groups.parquet")
	rng := rand.New(rand.NewPCG(1, 2))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const times = 60
	for range times {
		hostile := slices.Clone(data)
		at := rng.IntN(len(hostile) - 16)
		// The largest numbers of Thrift and of plain integers.
		if rng.IntN(2) == 0 {
			copy(hostile[at:], []byte{0xfe, 0xff, 0xff, 0xff, 0x0f})
		} else {
			binary.LittleEndian.PutUint32(hostile[at:], 0x7fffffff)
		}
		harmless(t, hostile)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / times; each > 64<<20 {
		t.Errorf("a hostile file of %d bytes took %d MiB on average", len(data), each>>20)
	}
}

func TestReadWhatIsNoParquet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ data, want string }{
		"empty":           {"", "a.parquet: it is no Parquet file"},
		"text":            {`{"a": 1}` + "\n" + `{"a": 2}`, "a.parquet: it is no Parquet file"},
		"no end":          {"PAR1" + strings.Repeat("x", 100), "was not written to the end or was cut off"},
		"encrypted":       {"PARE" + strings.Repeat("x", 100) + "PARE", "it is encrypted"},
		"footer too long": {"PAR1" + strings.Repeat("x", 20) + "\xff\xff\xff\x7fPAR1", "the footer is damaged"},
		"no footer":       {"PAR1\x00\x00\x00\x00PAR1", "the footer is damaged"},
		"deep footer":     {"PAR1" + strings.Repeat("\x1c", 9000) + "\x28\x23\x00\x00PAR1", "nested too deeply"},
	} {
		_, _, err := read(t, []byte(c.data), 0, parquetfile.Options{Path: "a.parquet"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, name := range []string{"negative_page_size", "negative_row_group_num_rows", "num_values_exceeds_data"} {
		data := file(t, filepath.Join(parquetGo(t), "malformed", name+".parquet"))
		if _, _, err := read(t, data, 0, parquetfile.Options{Path: "a.parquet"}); err == nil || !place.MatchString(err.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRead: whatever the bytes are, there are rows or an error.
func FuzzRead(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.parquet")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		if i := bytes.LastIndex(data, []byte("PAR1")); i > 0 && len(data) < 2000 {
			f.Add(data[:i])
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		harmless(t, data)
	})
}
