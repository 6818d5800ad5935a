package rowfile

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
)

func TestLargeBatchesAreNotHeld(t *testing.T) {
	t.Parallel()
	o := &Output{Path: filepath.Join(t.TempDir(), "a.jsonl")}
	if err := o.Start(false, nil); err != nil {
		t.Fatal(err)
	}
	row, err := pipeline.ParseRecord([]byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	encode := func(dst []byte, r *pipeline.Record) ([]byte, error) { return append(r.AppendJSON(dst), '\n'), nil }
	for range 20 {
		if err := o.Add(t.Context(), []*pipeline.Record{row, row, row}, encode); err != nil {
			t.Fatal(err)
		}
	}
	if n := cap(o.rows); n > 8<<20 {
		t.Errorf("%d bytes are held", n)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
}
