package s3_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks/s3"
)

// inParquet has parts of so many rows in Parquet, with columns that are given or found out.
func inParquet(schema string, rows int64) func(*s3.Config) {
	return func(c *s3.Config) {
		c.Format, c.Part.Rows = "parquet", rows
		if schema != "" {
			c.Schema = pipeline.RawJSON(schema)
		}
	}
}

// unpackParquet returns the rows of a part, and what its columns are.
func unpackParquet(t *testing.T, data []byte) (rows []string, shape pipeline.Shape) {
	t.Helper()
	f, err := parquetfile.Open(bytes.NewReader(data), int64(len(data)), parquetfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	from, err := f.ReadFrom(0)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for {
		r, err := from.Read()
		if errors.Is(err, io.EOF) {
			return rows, f.Shape()
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, string(r.AppendJSON(nil)))
	}
}

// written writes rows in one way, whether they wait or are in Parquet.
func written(t *testing.T, rows []string) (out []string) {
	t.Helper()
	for _, row := range rows {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(row), &fields); err != nil {
			t.Fatalf("%s: %v", row, err)
		}
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}

// readParquet returns the rows of all parts: in the bucket, else in the spool, where the last
// waits as rows.
func (p *place) readParquet(t *testing.T) (rows []string) {
	t.Helper()
	for number := 1; ; number++ {
		name := fmt.Sprintf("part-%05d.parquet", number)
		data, ok := p.server.Read(t, "out/"+name)
		if !ok {
			data, _ = os.ReadFile(filepath.Join(p.spool, name)) // perhaps there is none
		}
		if len(data) > 0 {
			more, _ := unpackParquet(t, data)
			rows = append(rows, more...)
			continue
		}
		waiting, _ := os.ReadFile(filepath.Join(p.spool, name+".rows"))
		return written(t, append(rows, unpack(t, "rows.zst", waiting)...))
	}
}

func TestS3ParquetConformance(t *testing.T) {
	t.Parallel()
	rows := []string{`{"a":1e400,"b":"x, \"y\""}`, `{"a": null,"b":" z"}`, `{"b":"","a":[1, 2]}`}
	for name, c := range map[string]struct {
		change  func(*s3.Config)
		refused []string
		bare    bool
	}{
		"found out":            {change: inParquet("", 0)},
		"given":                {change: inParquet(`{"a":"json","b":"string"}`, 2), refused: []string{`{"a":1,"b":2}`, `{"c":null}`}},
		"a row a part":         {change: inParquet(`{"a":"json","b":"string"}`, 1)},
		"without state, a row": {change: inParquet(`{"a":"json","b":"string"}`, 1), bare: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &place{}
			again := func(t *testing.T) pipeline.Sink {
				s := sink(t, p.server, c.change)
				if p.spool != "" {
					s.Spool(p.spool)
				}
				return s
			}
			k := pipelinetest.SinkCase{
				New: func(t *testing.T) pipeline.Sink {
					p.server = buckettest.New(t)
					if !c.bare {
						p.spool = filepath.Join(t.TempDir(), "spool", "sink")
					}
					return again(t)
				},
				Rows: rows, Want: written(t, rows), Refused: c.refused, Read: p.readParquet,
			}
			if !c.bare {
				k.Again = again
			}
			pipelinetest.Sink(t, k)
		})
	}
}

// TestParquetParts: every part is a whole file with the same columns, which the rows of the
// first decide; a row that does not fit to them is a dead letter.
func TestParquetParts(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]string{"with state": t.TempDir(), "without state": "off"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			var rows []string
			for i := range 1000 {
				rows = append(rows, fmt.Sprintf(`{"i":%d,"score":%d}`, i, i))
			}
			rows[700] = `{"i":700,"score":1.5}` // behind the first part a number is an integer
			rows[800] = `{"i":800,"other":true}`
			sum, err := engine.Run(t.Context(), pipeline.Pipeline{
				Name: "s3", Source: pipelinetest.Rows(t, rows), Sink: sink(t, server, inParquet("", 400)), Flush: pipeline.Flush{Records: 100},
			}, engine.Options{State: state})
			if err != nil || sum.Counts.DeadLettered != 2 {
				t.Fatalf("%d dead letters, want 2: %v", sum.Counts.DeadLettered, err)
			}
			want := []string{"out/_manifest.json", "out/part-00001.parquet", "out/part-00002.parquet", "out/part-00003.parquet"}
			if got := server.Keys(t, ""); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			var got []string
			var first pipeline.Shape
			for i, key := range want[1:] {
				data, _ := server.Read(t, key)
				more, shape := unpackParquet(t, data)
				if got = append(got, more...); i == 0 {
					first = shape
				}
				if fmt.Sprint(shape) != fmt.Sprint(first) {
					t.Errorf("%s has the columns %v, the first %v", key, shape, first)
				}
			}
			rows = slices.Delete(slices.Delete(rows, 800, 801), 700, 701)
			if !slices.Equal(got, rows) {
				t.Errorf("%d rows of %d: %q…", len(got), len(rows), got[:min(3, len(got))])
			}
			checkManifest(t, server, 998, 400, 400, 198)
		})
	}
}

// TestParquetHasColumns: rows without a field are not lost in silence.
func TestParquetHasColumns(t *testing.T) {
	t.Parallel()
	_, err := engine.Run(t.Context(), pipeline.Pipeline{
		Name: "s3", Source: pipelinetest.Rows(t, []string{`{}`, `{}`}), Sink: sink(t, buckettest.New(t), inParquet("", 0)),
	}, engine.Options{State: "off"})
	if err == nil || !strings.Contains(err.Error(), "no row has a field") {
		t.Errorf("got %v", err)
	}
}

func TestParquetMistakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*s3.Config)
		want   string
	}{
		"schema of another format": {func(c *s3.Config) { c.Schema = pipeline.RawJSON(`{"a":"string"}`) }, "schema: is for parquet; the rows are written as jsonl"},
		"no such type":             {inParquet(`{"a":"strung"}`, 0), "schema.a: "},
		"snappy lines":             {func(c *s3.Config) { c.Compression = "snappy" }, "compression: snappy is for parquet"},
		"infer_rows":               {func(c *s3.Config) { c.Format, c.InferRows = "parquet", -1 }, "infer_rows: "},
		"row_group":                {func(c *s3.Config) { c.Format, c.RowGroup.Rows = "parquet", -1 }, "row_group: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := s3.Default()
			conf.Bucket = "b"
			c.change(&conf)
			if err := conf.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

const (
	doomedRows    = 300
	doomedMisfits = 2
)

const doomedPipeline = `
name: doomed
source: {s3: {bucket: rows, prefix: in/, columns: [id, score], endpoint: URL}}
stages:
  - llm: {provider: simulator, simulator: {latency: 27ms, latency_spread: 0.3}, prompt: '{{.id}}', output: answer}
    parallelism: 8
sink: {s3: {bucket: rows, prefix: out, format: parquet, SCHEMA part: {rows: 70}, endpoint: URL}, flush: {records: 10, every: 5ms}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`

// doomedObjects are two objects in Parquet, of several row groups; two rows have a value that
// their column is not going to take.
func doomedObjects(t *testing.T, server *buckettest.Server) {
	t.Helper()
	root, err := parquetfile.ParseSchema(pipeline.RawJSON(`{"id":"int64","unread":"string","score":"json"}`))
	if err != nil {
		t.Fatal(err)
	}
	for part := range 2 {
		var out bytes.Buffer
		w, err := parquetfile.NewWriter(&out, parquetfile.Given(root), parquetfile.WriteOptions{GroupRows: 40})
		if err != nil {
			t.Fatal(err)
		}
		for i := part * doomedRows / 2; i < (part+1)*doomedRows/2; i++ {
			score := fmt.Sprint(float64(i)/4 + 0.1)
			if i%150 == 149 {
				score = `"none"`
			}
			if err := w.Write(pipeline.RawRecord(fmt.Sprintf(`{"id":%d,"unread":"x","score":%s}`, i, score))); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		server.Put(t, fmt.Sprintf("in/%d.parquet", part), out.String())
	}
}

// TestParquetKilledAgainAndAgain: from Parquet in a bucket to Parquet in it, while the process
// is killed: every row is there once and in order, or is a dead letter.
func TestParquetKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"given": "schema: {id: int64, score: double, answer: string},", "found out": "infer_rows: 50,",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			doomedObjects(t, server)
			dir := doomed.Folder(t, doomedPipeline, "SCHEMA", schema, "URL", server.URL)
			doomed.KillRepeatedly(t, dir, doomedRows, nil)
			checkDoomed(t, server)
		})
	}
}

func checkDoomed(t *testing.T, server *buckettest.Server) {
	t.Helper()
	var ids, want []string
	for _, key := range server.Keys(t, "out/part-") {
		data, _ := server.Read(t, key)
		rows, _ := unpackParquet(t, data)
		for _, row := range rows {
			var r struct {
				ID     json.Number
				Answer string
			}
			if err := json.Unmarshal([]byte(row), &r); err != nil || r.Answer == "" {
				t.Fatalf("%s: %v", row, err)
			}
			ids = append(ids, r.ID.String())
		}
	}
	for i := range doomedRows {
		if i%150 != 149 {
			want = append(want, fmt.Sprint(i))
		}
	}
	if !slices.Equal(ids, want) {
		t.Errorf("%d rows, want %d: %q", len(ids), len(want), ids)
	}
	checkManifest(t, server, int64(len(want)), 70, 70, 70, 70, 18)
	if left := server.Keys(t, "out/"); len(left) != 6 {
		t.Errorf("there is %q", left)
	}
}
