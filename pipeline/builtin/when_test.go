package builtin_test

import (
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/load"
)

// TestBatchesTakeEveryRecord: records that pass by would tear batches apart.
func TestBatchesTakeEveryRecord(t *testing.T) {
	t.Parallel()
	registry, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	_, err = load.Bytes("p.yaml", []byte("source: {range: {to: 9}}\nstages:\n  - group: {size: 3}\n    when: i > 2\nsink: {discard: {}}\n"), load.Options{Registry: registry})
	if err == nil || !strings.Contains(err.Error(), "p.yaml:4:11: stages[0].when: group takes every record") {
		t.Errorf("error %v", err)
	}
	// A batch of lookups only saves time.
	if _, err = load.Bytes("p.yaml", []byte("source: {range: {to: 9}}\nstages:\n  - sql_lookup: {dsn: a.db, table: t, on: i}\n    when: i > 2\nsink: {discard: {}}\n"), load.Options{Registry: registry}); err != nil {
		t.Errorf("error %v", err)
	}
}
