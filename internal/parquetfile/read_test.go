package parquetfile_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
)

// read returns the rows of a file from one on, as JSON, and what of them cannot be read.
func read(t *testing.T, data []byte, from int64, o parquetfile.Options) (rows []string, unreadable []error, err error) {
	t.Helper()
	f, err := parquetfile.Open(bytes.NewReader(data), int64(len(data)), o)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	r, err := f.ReadFrom(from)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	for {
		record, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return rows, unreadable, nil
		case record == nil:
			return rows, unreadable, err
		case err != nil:
			unreadable = append(unreadable, err)
			continue
		}
		if want := from + int64(len(rows)+len(unreadable)) + 1; record.Origin.Line != want {
			t.Fatalf("the row says that it is number %d, want %d", record.Origin.Line, want)
		}
		text := string(record.AppendJSON(nil))
		if _, err := pipeline.ParseRecord([]byte(text)); err != nil {
			t.Fatalf("row %d is no JSON: %v\n%s", record.Origin.Line, err, text)
		}
		rows = append(rows, text)
	}
}

func mustRead(t *testing.T, data []byte, from int64, o parquetfile.Options) []string {
	t.Helper()
	rows, unreadable, err := read(t, data, from, o)
	if err != nil || unreadable != nil {
		t.Fatal(err, unreadable)
	}
	return rows
}

func file(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestReadWhatOthersWrote has every value that DuckDB and hyparquet-writer were given,
// written down as JSON by hand: testdata/README.md has the programs.
func TestReadWhatOthersWrote(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"duckdb.parquet": {
			`{"i64":1,"b":true,"i8":1,"i16":2,"i32":3,"u8":255,"u16":65535,"u32":4294967295,"u64":18446744073709551615,"f":1.5,"d":0.1,"dec":12.30,` +
				`"big":-99999999999999999999999999999999999.999,"s":"héllo \"x\"","bin":"QUIA/w==","date":"2026-11-23","time":"06:35:00.123456",` +
				`"ts":"2026-11-23T06:35:00.123456","ts_ns":"2026-11-23T06:35:00.123456789","ts_ms":"2026-11-23T06:35:00.123","tz":"2026-11-23T04:35:00.000000Z",` +
				`"uuid":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","span":{"months":1,"days":2,"milliseconds":3},"js":{"b":1,"a":[1.50,null]},"en":"red",` +
				`"list":[1,null,3],"lists":[[1],[],null],"obj":{"a":1,"b":{"c":"x"}},"objs":[{"k":"p","v":1.5},{"k":"q","v":null}],"map":{"x":1,"y":null},"imap":{"1":["a"]}}`,
			`{"i64":-9223372036854775808,"b":false,"i8":-128,"i16":-32768,"i32":-2147483648,"u8":0,"u16":0,"u32":0,"u64":0,"f":"NaN","d":"Infinity","dec":-0.01,` +
				`"big":0.001,"s":"","bin":"","date":"0001-01-01","time":"00:00:00.000000",` +
				`"ts":"1969-12-31T23:59:59.999999","ts_ns":"1969-12-31T23:59:59.999999999","ts_ms":"1969-12-31T23:59:59.999","tz":"0001-01-01T00:00:00.000000Z",` +
				`"uuid":"00000000-0000-0000-0000-000000000000","span":{"months":0,"days":0,"milliseconds":0},"js":null,"en":"green",` +
				`"list":[],"lists":[],"obj":{"a":null,"b":{"c":null}},"objs":[],"map":{},"imap":{}}`,
			`{"i64":null,"b":null,"i8":null,"i16":null,"i32":null,"u8":null,"u16":null,"u32":null,"u64":null,"f":null,"d":"-Infinity","dec":null,` +
				`"big":null,"s":null,"bin":null,"date":null,"time":null,"ts":null,"ts_ns":null,"ts_ms":null,"tz":null,"uuid":null,"span":null,"js":null,"en":null,` +
				`"list":null,"lists":null,"obj":null,"objs":null,"map":null,"imap":null}`,
		},
		"hyparquet.parquet": {
			`{"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","half":1.5,"when":"2026-11-23T06:35:00.123Z","doc":{"a":[1,{"b":null}]},"n":9007199254740993,"text":"a,b"}`,
			`{"id":null,"half":-65504,"when":"1969-12-31T23:59:59.999Z","doc":"x","n":-1,"text":"ü"}`,
		},
		"duckdb-groups.parquet": groups(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := mustRead(t, file(t, "testdata/"+name), 0, parquetfile.Options{})
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("rows (-want +got):\n%s", d)
			}
		})
	}
}

// groups are the rows of duckdb-groups.parquet: two row groups, pages of version 2, zstd.
func groups() []string {
	rows := make([]string, 3000)
	for i := range rows {
		text := fmt.Sprintf("%q", fmt.Sprint("text ", i%50))
		if i%7 == 0 {
			text = "null"
		}
		var list []string
		for k := range i % 4 {
			list = append(list, fmt.Sprint(i+k))
		}
		rows[i] = fmt.Sprintf(`{"n":%d,"s":%s,"l":[%s],"d":%d.%02d}`, i, text, strings.Join(list, ","), i/4, i%4*25)
	}
	return rows
}

// parquetGo is the folder of test files that comes with parquet-go: of Spark, Hive,
// Impala, Arrow, Snowflake, Rust and others.
func parquetGo(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/parquet-go/parquet-go").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "testdata")
}

// large is from which size on files are read only when it is asked for.
const large = 150 << 10

// thorough reports whether tests may take minutes.
func thorough() bool { return os.Getenv("ROWMILL_TEST_THOROUGH") != "" }

// TestReadFilesOfManyWriters reads every file that parquet-go has, but for the large ones.
// The hashes are of rows that were compared with DuckDB's, value by value; see the test
// behind the tag peers.
func TestReadFilesOfManyWriters(t *testing.T) {
	t.Parallel()
	dir := parquetGo(t)
	paths, err := filepath.Glob(filepath.Join(dir, "*.parquet"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no files", err)
	}
	want := hashes(t)
	var got []string
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Size() > large && !thorough() {
			got = append(got, want[i])
			continue
		}
		rows := mustRead(t, file(t, path), 0, parquetfile.Options{Path: path})
		sum := sha256.New()
		for _, row := range rows {
			sum.Write([]byte(row + "\n"))
		}
		got = append(got, fmt.Sprintf("%s %d %s", filepath.Base(path), len(rows), hex.EncodeToString(sum.Sum(nil)[:8])))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("file, rows, hash (-want +got):\n%s", d)
	}
}

func hashes(t *testing.T) []string {
	t.Helper()
	return strings.Split(strings.TrimSpace(string(file(t, "testdata/parquet-go.txt"))), "\n")
}

func TestReadFromAnyRow(t *testing.T) {
	t.Parallel()
	dir := parquetGo(t)
	for _, path := range []string{
		"testdata/duckdb-groups.parquet", dir + "/nullable.impala.parquet", dir + "/issue276_4_per_page.parquet", dir + "/alltypes_tiny_pages.parquet",
		dir + "/datapage_v2.snappy.parquet",
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			data := file(t, path)
			all := mustRead(t, data, 0, parquetfile.Options{})
			step := max(1, len(all)/23)
			for from := 0; from <= len(all); from += step {
				if got := mustRead(t, data, int64(from), parquetfile.Options{}); !slices.Equal(got, all[from:]) {
					t.Fatalf("from row %d on there are %d rows, and others than before; want %d", from, len(got), len(all)-from)
				}
			}
		})
	}
	data := file(t, "testdata/duckdb-groups.parquet")
	if _, _, err := read(t, data, 3001, parquetfile.Options{Path: "a.parquet"}); err == nil || !strings.Contains(err.Error(), "it has only 3000 rows") {
		t.Errorf("from behind the end: %v", err)
	}
}

func TestReadSomeColumns(t *testing.T) {
	t.Parallel()
	data := file(t, "testdata/duckdb.parquet")
	for _, c := range []struct {
		columns []string
		want    string
	}{
		{[]string{"s", "i64"}, `{"s":"héllo \"x\"","i64":1}`},
		{[]string{"obj.b.c", "list"}, `{"obj":{"b":{"c":"x"}},"list":[1,null,3]}`},
		{[]string{"obj.b", "obj.a"}, `{"obj":{"b":{"c":"x"},"a":1}}`},
		{[]string{"obj.a", "obj"}, `{"obj":{"a":1,"b":{"c":"x"}}}`},
		{[]string{"imap"}, `{"imap":{"1":["a"]}}`},
	} {
		if got := mustRead(t, data, 0, parquetfile.Options{Columns: c.columns}); got[0] != c.want {
			t.Errorf("columns %v: %s, want %s", c.columns, got[0], c.want)
		}
	}
	for _, name := range []string{"obj.x", "nothing", "list.element", ""} {
		_, _, err := read(t, data, 0, parquetfile.Options{Columns: []string{name}, Path: "a.parquet"})
		if err == nil || !strings.Contains(err.Error(), "there is no column") || !strings.HasPrefix(err.Error(), "a.parquet: ") {
			t.Errorf("column %q: %v", name, err)
		}
	}
}

func TestReadBytesAsText(t *testing.T) {
	t.Parallel()
	dir := parquetGo(t)
	rows := mustRead(t, file(t, dir+"/lz4_raw_compressed.parquet"), 0, parquetfile.Options{BinaryText: true})
	if want := `{"c0":1593604800,"c1":"abc","v11":42}`; rows[0] != want {
		t.Errorf("%s, want %s", rows[0], want)
	}
	rows, unreadable, err := read(t, file(t, "testdata/duckdb.parquet"), 0, parquetfile.Options{BinaryText: true, Columns: []string{"bin"}, Path: "a.parquet"})
	if err != nil || len(rows) != 2 || len(unreadable) != 1 {
		t.Fatalf("rows %v, unreadable %v, %v", rows, unreadable, err)
	}
	if want := `a.parquet: row 1: column "bin": a text that is not UTF-8`; unreadable[0].Error() != want {
		t.Errorf("%q, want %q", unreadable[0], want)
	}
}

func TestReadNoRowThatIsTooLong(t *testing.T) {
	t.Parallel()
	data := file(t, "testdata/duckdb.parquet")
	lengths := []int{}
	for _, row := range mustRead(t, data, 0, parquetfile.Options{}) {
		lengths = append(lengths, len(row))
	}
	slices.Sort(lengths)
	for limit, want := range map[int]int{lengths[0] - 1: 0, lengths[0]: 1, lengths[1]: 2, lengths[2] - 1: 2, lengths[2]: 3} {
		rows, unreadable, err := read(t, data, 0, parquetfile.Options{MaxRecord: limit})
		if err != nil || len(rows) != want || len(unreadable) != 3-want {
			t.Errorf("max_record %d: %d rows, %d unreadable, %v; want %d rows", limit, len(rows), len(unreadable), err, want)
		}
	}
}
