package builtin_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
)

// store is the bucket of a case. It notes how many objects are asked for at once.
type store struct {
	*buckettest.Server
	mu        sync.Mutex
	now, most int
}

func newStore(t *testing.T, objects map[string]string) *store {
	t.Helper()
	s := &store{Server: buckettest.New(t)}
	for key, data := range objects {
		s.Put(t, key, data)
	}
	s.Set(s.slow)
	return s
}

// slow answers a moment later, so that requests meet.
func (s *store) slow(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	if r.Method != http.MethodGet || strings.Contains(r.URL.RawQuery, "list-type") {
		return false
	}
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	return false
}

// observe adds the requests, and the objects that were not there before.
func (s *store) observe(t *testing.T, o *observation, before map[string]string) {
	t.Helper()
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete} {
		for _, r := range s.Requests(method, "") {
			query := uploadID.ReplaceAllString(r.Query, "uploadId=ID")
			o.wire = append(o.wire, fmt.Sprintf("%s %s?%s %s in %q", r.Method, r.Path, query, r.Range, r.Region))
		}
	}
	for _, key := range s.Keys(t, "") {
		if _, input := before[key]; !input {
			data, _ := s.Read(t, key)
			o.files["s3:"+key] = string(data)
		}
	}
	o.atOnce = s.most
}

// bucketKeyCases are about the keys of the source s3.
func bucketKeyCases() []keyCase {
	several := map[string]string{}
	for i := range 9 {
		several[fmt.Sprintf("many/%d.txt", i)] = fmt.Sprint(i)
	}
	from := func(key, config string, objects map[string]string, values ...string) keyCase {
		return keyCase{
			key:     "source s3: " + key,
			yaml:    fmt.Sprintf("source: {s3: {bucket: rows, endpoint: S3%s}}\nsink: {file: {path: DIR/out.jsonl}}", config),
			objects: objects, values: values,
		}
	}
	one := map[string]string{"a.jsonl": "{\"n\":1}\n", "b/a.jsonl": "{\"n\":2}\n"}
	duck, err := os.ReadFile("../../internal/parquetfile/testdata/duckdb.parquet")
	if err != nil {
		panic(err)
	}
	parquet := map[string]string{"a.parquet": string(duck)}
	local := from("path_style", ", key: a.jsonl", one, "true", "false")
	local.yaml = strings.Replace(local.yaml, "endpoint: S3", "endpoint: LOCALS3", 1)
	ahead := from("prefetch", ", key: 'many/*'", several, "0", "3")
	ahead.see = []aspect{pulled, output}
	return append(bucketSinkKeyCases(), []keyCase{
		from("bucket", ", key: a.jsonl", one, "rows", "nobodys"),
		from("key", "", one, "a.jsonl", "b/a.jsonl", "'**/a.jsonl'", "[b/a.jsonl, a.jsonl]"),
		from("prefix", "", one, "a", "b/", "nothing"),
		from("format", ", key: a.jsonl", map[string]string{"a.jsonl": "{\"n\": 1}\n{\"n\":2}\n"}, "auto", "lines", "whole", "csv"),
		from("compression", ", key: a.jsonl", map[string]string{"a.jsonl": gzipped("{\"n\":1}\n")}, "auto", "none"),
		from("delimiter", ", key: a.csv", map[string]string{"a.csv": "a,b;c\n1,2;3\n"}, "','", "';'"),
		from("types", ", key: a.csv", map[string]string{"a.csv": "a,b\n1,yes\nx,no\n"}, "", "{a: number}", "{b: bool}"),
		from("field", ", key: a.txt", map[string]string{"a.txt": "one\n"}, "text", "line"),
		from("columns", ", key: a.parquet", parquet, "", "[i64, s]", "[s, i64]"),
		from("binary", ", key: a.parquet, columns: [s, bin]", parquet, "base64", "text"),
		from("max_record", ", key: a.jsonl", map[string]string{"a.jsonl": "{\"text\":\"a long one\"}\n{\"n\":1}\n"}, "64MiB", "10"),
		from("endpoint", ", key: a.jsonl", one, "S3", "S3/elsewhere"),
		from("region", ", key: a.jsonl", one, "us-east-1", "eu-west-1"),
		from("profile", ", key: a.jsonl", one, "", "nobody"),
		from("anonymous", ", key: a.jsonl", one, "false", "true"),
		local, ahead,
	}...)
}

// on has other rows be written, of which some are dead letters.
func (c keyCase) on(rows string) keyCase {
	c.yaml = strings.Replace(c.yaml, "[{a: 1, b: x}, {a: 2, b: y}]", rows, 1) + "\ndead_letter: {file: {path: DIR/dead.jsonl}}"
	return c
}

// bucketSinkKeyCases are about the keys of the sink s3.
func bucketSinkKeyCases() []keyCase {
	into := func(key, config string, values ...string) keyCase {
		return keyCase{
			key:     "sink s3: " + key,
			yaml:    fmt.Sprintf("source: {values: {rows: [{a: 1, b: x}, {a: 2, b: y}]}}\nsink: {s3: {bucket: rows, endpoint: S3%s}}", config),
			objects: map[string]string{}, values: values,
		}
	}
	local := into("path_style", "", "true", "false")
	local.yaml = strings.Replace(local.yaml, "endpoint: S3", "endpoint: LOCALS3", 1)
	every := into("part.every", "", "0s", "1ns") // rows that are committed one by one, as they come slowly
	every.yaml = "source: {s3: {bucket: rows, endpoint: S3, prefix: in/, prefetch: 0}}\n" +
		"sink: {s3: {bucket: rows, endpoint: S3, prefix: out}, flush: {records: 1, every: 1ms}}"
	every.see = []aspect{parted} // how many there are hangs on the machine
	every.objects = map[string]string{}
	for i := range 20 { // so many that they are not all there before the first commit
		every.objects[fmt.Sprintf("in/%02d.txt", i)] = "1"
	}
	return []keyCase{
		into("bucket", "", "rows", "nobodys"),
		into("prefix", "", "", "out", "out/deep"),
		into("format", "", "jsonl", "csv", "tsv", "parquet"),
		into("schema", ", format: parquet", "", "{a: int8, b: string}", "{b: string, a: double}"),
		into("infer_rows", ", format: parquet", "1", "2").on("[{a: 1}, {a: x}]"),
		into("row_group.rows", ", format: parquet", "1", "2"),
		into("row_group.bytes", ", format: parquet", "1", "64MiB"),
		into("compression", "", "gzip", "none", "zstd"),
		into("part.rows", "", "0", "1"),
		into("part.bytes", ", part: {rows: 1000}", "256MiB", "1"),
		every,
		into("columns", ", format: csv", "[a, b]", "[b, a]", "[a, b, c]"),
		into("delimiter", ", format: csv", "','", "';'"),
		into("field", ", format: lines", "a", "b"),
		into("endpoint", "", "S3", "S3/elsewhere"),
		into("region", "", "us-east-1", "eu-west-1"),
		into("profile", "", "", "nobody"),
		into("anonymous", "", "false", "true"),
		local,
	}
}
