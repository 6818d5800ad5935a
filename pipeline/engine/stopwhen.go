package engine

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/rowmill/rowmill/pipeline"
)

// trial is how the rows fared in one component.
type trial struct {
	passed, dead atomic.Int64
	_            [48]byte // those of others, counted by other processors, are on other lines of the cache
}

// failing is the share of the rows that become dead letters. It is put together of
// the shares of the components that have seen enough rows: rows that are still
// under way count for those they have passed, so that the failures of a fast
// component are not held against the successes that a slow one still owes.
func (r *run) failing(after int) pipeline.Share {
	passing := 1.0
	for _, t := range r.trials {
		dead, passed := t.dead.Load(), t.passed.Load()
		if n := dead + passed; n >= max(1, int64(after)) {
			passing *= float64(passed) / float64(n)
		}
	}
	return pipeline.Share(1 - passing)
}

// checkStopWhen ends a run that goes wrong early.
func (r *run) checkStopWhen() {
	s := r.pipeline.StopWhen
	if s.Off {
		return
	}
	share := r.failing(s.After)
	if share < s.DeadLetters {
		return
	}
	r.fail(fmt.Errorf("stopped early: %.0f%% of the rows fail, %d so far (stop_when: %v after %d); most frequent: %s",
		float64(share)*100, r.deadSoFar.Load(), s.DeadLetters, s.After, topReasons(r.reasons.list(), 3)))
}

func topReasons(list []Reason, most int) string {
	var parts []string
	for _, one := range list[:min(most, len(list))] {
		parts = append(parts, fmt.Sprintf("%d× %s: %s: %s", one.Count, one.Stage, one.Code, one.Message))
	}
	return strings.Join(parts, "; ")
}
