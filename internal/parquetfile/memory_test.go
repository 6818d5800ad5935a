package parquetfile_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
)

// grouped writes rows of a number and a text, of which each row group has so many, without
// compression.
func grouped(t *testing.T, to io.Writer, rows, group int, text string) {
	t.Helper()
	root, err := parquetfile.ParseSchema(pipeline.RawJSON(`{"n":"int64","text":"string"}`))
	if err != nil {
		t.Fatal(err)
	}
	w, err := parquetfile.NewWriter(to, parquetfile.Given(root), parquetfile.WriteOptions{Compression: "none", GroupRows: int64(group)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if err := w.Write(pipeline.RawRecord(fmt.Sprintf(`{"n":%d,"text":"%d %s"}`, i, i, text))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAPageIsNotWhatItsChecksumSays: one byte of a text is another, which nothing but the
// checksum of its page tells.
func TestAPageIsNotWhatItsChecksumSays(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	grouped(t, &out, 30, 10, "as written")
	data := out.Bytes()
	i := bytes.Index(data, []byte("15 as written"))
	if i < 0 {
		t.Fatal("the text of the row 15 is not in the file")
	}
	data[i+3] = 'A'
	got, _, err := read(t, data, 0, parquetfile.Options{Path: "a.parquet"})
	if want := `a.parquet: row group 2 of 3: column "text": a page is damaged: its checksum is another`; err == nil || !strings.Contains(err.Error(), `row group 2 of 3`) || !strings.HasSuffix(err.Error(), "its checksum is another") {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if len(got) != 10 {
		t.Errorf("%d rows in front of it, want 10", len(got))
	}
}
