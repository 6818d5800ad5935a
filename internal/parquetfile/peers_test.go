//go:build peers

package parquetfile_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
)

// peers is a folder with DuckDB and hyparquet for node, and the programs that use them.
func peers(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ROWMILL_TEST_NODE") // one where they are installed already
	if dir == "" {
		dir = t.TempDir()
		install := exec.Command("npm", "install", "--prefix", dir, "@duckdb/node-api@1.5.6-r.1", "hyparquet-writer@0.17.0", "hyparquet", "hyparquet-compressors")
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm install: %v\n%s", err, out)
		}
	}
	for _, name := range []string{"make.mjs", "read.mjs"} {
		if err := os.WriteFile(filepath.Join(dir, name), file(t, "testdata/peers/"+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func node(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("node", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("node %v: %v\n%s", args, err, out)
	}
}

// TestPeersReadWhatIsWritten has DuckDB and hyparquet read a file with every type.
func TestPeersReadWhatIsWritten(t *testing.T) {
	dir := peers(t)
	schema := `{"b":"bool","i8":"int8","u8":"uint8","i64":"int64","u64":"uint64","f":"float","d":"double","dec":"decimal(5, 2)","dec18":"decimal(18, 3)",` +
		`"big":"decimal(38, 3)","s":"string","j":"json","bin":"binary","id":"uuid","date":"date","time":"time","ts":"timestamp","tsn":"timestamp(ns)",` +
		`"local":"local_timestamp(ms)","list":["int64"],"lists":[["string"]],"obj":{"a":"int64","b":{"c":"string"}},"objs":[{"k":"string"}],"map":{"*":"int64"}}`
	rows := []string{
		`{"b":true,"i8":-128,"u8":255,"i64":-9223372036854775808,"u64":18446744073709551615,"f":1.5,"d":0.1,"dec":12.34,"dec18":-123456789012345.678,` +
			`"big":-99999999999999999999999999999999999.999,"s":"héllo \"x\"","j":{"b":1,"a":[1.25,null]},"bin":"QUIA/w==","id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8",` +
			`"date":"1969-12-31","time":"06:35:00.123456","ts":"2026-11-23T06:35:00.123456Z","tsn":"2026-11-23T06:35:00.123456000Z","local":"2026-11-23T06:35:00.123",` +
			`"list":[1,null,3],"lists":[["a"],[],null],"obj":{"a":1,"b":{"c":"x"}},"objs":[{"k":"p"},{"k":null}],"map":{"x":1,"y":null}}`,
		`{"b":null,"i8":null,"u8":null,"i64":null,"u64":null,"f":null,"d":null,"dec":null,"dec18":null,"big":null,"s":null,"j":null,"bin":null,"id":null,` +
			`"date":null,"time":null,"ts":null,"tsn":null,"local":null,"list":[],"lists":[],"obj":{"a":null,"b":{"c":null}},"objs":null,"map":{}}`,
	}
	for _, compression := range parquetfile.Compressions() {
		path := filepath.Join(t.TempDir(), "rows.parquet")
		if err := os.WriteFile(path, write(t, given(t, schema), parquetfile.WriteOptions{Compression: compression}, rows...), 0o600); err != nil {
			t.Fatal(err)
		}
		node(t, dir, "read.mjs", path)
		var want []any
		for _, row := range rows {
			want = append(want, plain(t, row))
		}
		var got []any
		for line := range strings.Lines(string(file(t, path+".duckdb"))) {
			got = append(got, plain(t, line))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: DuckDB (-want +got):\n%s", compression, d)
		}
		var others []map[string]any
		if err := json.Unmarshal(file(t, path+".hyparquet"), &others); err != nil || len(others) != 2 || others[0]["s"] != `héllo "x"` || others[0]["u64"] != "18446744073709551615" {
			t.Errorf("%s: hyparquet: %v %v", compression, err, others)
		}
	}
}

var dated = regexp.MustCompile(`^([-+\d]+-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00)?$`)

// plain decodes a row; times are put in one form, bytes as DuckDB shows them.
func plain(t *testing.T, row string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(row))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	for name, value := range v {
		text, _ := value.(string)
		if m := dated.FindStringSubmatch(text); m != nil {
			v[name] = m[1] + " " + m[2] + strings.TrimRight(m[3], "0")
		}
		if name == "bin" && value != nil {
			v[name] = "QUIA/w=="
			if text != "QUIA/w==" && text != `AB\x00\xFF` {
				t.Errorf("bytes %q", text)
			}
		}
	}
	return v
}

// TestPeersWriteTheTestdata makes the files in testdata anew, and reads the same rows.
func TestPeersWriteTheTestdata(t *testing.T) {
	dir, out := peers(t), t.TempDir()
	node(t, dir, "make.mjs", out)
	for _, name := range []string{"duckdb.parquet", "duckdb-groups.parquet", "hyparquet.parquet"} {
		was := mustRead(t, file(t, "testdata/"+name), 0, parquetfile.Options{})
		if now := mustRead(t, file(t, filepath.Join(out, name)), 0, parquetfile.Options{}); !slices.Equal(was, now) {
			t.Errorf("%s has other rows than in testdata", name)
		}
	}
}

// TestPeersAgreeOnFilesOfManyWriters compares the files that come with parquet-go, value
// by value, with what DuckDB reads. It shows a float as the double that it is.
func TestPeersAgreeOnFilesOfManyWriters(t *testing.T) {
	dir, out := peers(t), t.TempDir()
	paths, err := filepath.Glob(filepath.Join(parquetGo(t), "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, path := range paths {
		to := filepath.Join(out, filepath.Base(path))
		if err := os.WriteFile(to, file(t, path), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("node", "--input-type=module", "-e", `import { DuckDBInstance } from '@duckdb/node-api';
			const c = await (await DuckDBInstance.create(':memory:')).connect(); await c.run("set timezone='UTC'");
			await c.run("copy (select * from read_parquet('`+to+`', binary_as_string=true)) to '`+to+`.duckdb' (format json)")`)
		cmd.Dir = dir
		if said, err := cmd.CombinedOutput(); err != nil {
			if !strings.Contains(string(said), "Invalid string encoding") {
				t.Errorf("%s: %s", path, said)
			}
			continue // bytes that DuckDB takes for text
		}
		rows := mustRead(t, file(t, path), 0, parquetfile.Options{BinaryText: true})
		i := 0
		for line := range strings.Lines(string(file(t, to+".duckdb"))) {
			if !sameAsDuckDB(pipeline.RawJSON(rows[i]), pipeline.RawJSON(strings.TrimSpace(line))) {
				t.Errorf("%s, row %d:\nDuckDB %s\nwe     %s", filepath.Base(path), i+1, line, rows[i])
				break
			}
			i++
		}
		if i == len(rows) {
			compared++
		}
	}
	if compared < 40 {
		t.Errorf("only %d of %d files were compared", compared, len(paths))
	}
}

func sameAsDuckDB(a, b pipeline.Value) bool {
	switch {
	case a.Kind() == '"' && b.Kind() == '"':
		return strings.TrimPrefix(normal(a.Text()), "+0") == strings.TrimPrefix(normal(b.Text()), "+0")
	case a.Kind() == '0' && b.Kind() == '0':
		x, _ := number(a).(float64)
		y, _ := number(b).(float64)
		return a.Text() == b.Text() || x == y || float32(x) == float32(y)
	case a.Kind() == '[' && b.Kind() == '[':
		x, _ := a.Elements()
		y, _ := b.Elements()
		return slices.EqualFunc(x, y, sameAsDuckDB)
	case a.Kind() == '{' && b.Kind() == '{':
		x, _ := a.Members()
		y, _ := b.Members()
		return slices.EqualFunc(x, y, func(p, q pipeline.Field) bool { return p.Name == q.Name && sameAsDuckDB(p.Value, q.Value) })
	default:
		return a.JSON() == b.JSON()
	}
}

func normal(text string) string {
	if m := dated.FindStringSubmatch(text); m != nil {
		return m[1] + " " + m[2] + strings.TrimRight(strings.TrimRight(m[3], "0"), ".")
	}
	if i := strings.IndexByte(text, '.'); i == 8 && text[2] == ':' {
		return strings.TrimRight(strings.TrimRight(strings.TrimSuffix(strings.TrimSuffix(text, "Z"), "+00"), "0"), ".")
	}
	return text
}
