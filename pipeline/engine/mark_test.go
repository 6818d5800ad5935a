package engine

import (
	"testing"

	"github.com/rowmill/rowmill/internal/known"
	"github.com/rowmill/rowmill/pipeline"
)

// The counts of a checkpoint are of rows that have ended, whatever is just being read: a run
// that goes on would miss a row else.
func TestACheckpointCountsRowsThatHaveEnded(t *testing.T) {
	t.Parallel()
	tr := &tracker{rows: &rows{}}
	done := make(chan error)
	go func() {
		var err error
		for seq := uint64(0); seq < 20_000 && err == nil; seq++ {
			r := pipeline.RawRecord(`{}`)
			r.Ref.Seq = seq
			if _, err = tr.enter(r, known.ID{}); err == nil {
				tr.begin(r)
				err = tr.settle(r, dropped)
			}
		}
		done <- err
	}()
	for {
		if _, c, _ := tr.mark(nil); c.lost() != 0 {
			t.Errorf("%d rows are counted and have not ended: %+v", c.lost(), c)
			if err := <-done; err != nil {
				t.Error(err)
			}
			return
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}
