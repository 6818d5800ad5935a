package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"pgregory.net/rapid"
)

// visit is one turn at a gate: when it comes, when it is given up, what it gets.
type visit struct {
	comes, givesUp time.Duration
	latency        time.Duration
	kind           string
}

func drawVisit(t *rapid.T) visit {
	tens := func(most int, label string) time.Duration {
		return time.Duration(rapid.IntRange(0, most).Draw(t, label)) * 10 * time.Millisecond
	}
	// In steps of the limiter's pace, so that much happens in the same moment.
	return visit{
		comes: tens(50, "comes"), givesUp: tens(200, "gives up"), latency: tens(30, "latency"),
		kind: rapid.SampledFrom([]string{"ok", "ok", "refused", "down", "panic"}).Draw(t, "kind"),
	}
}

// play has the visits made, and returns how many requests were sent and not refused.
func play(ctx context.Context, s *Stage, visits []visit) (taken int64) {
	var sent atomic.Int64
	var wg sync.WaitGroup
	for _, v := range visits {
		wg.Go(func() {
			time.Sleep(v.comes)
			ctx, cancel := context.WithTimeout(ctx, v.givesUp)
			defer cancel()
			ctx, _ = s.Begin(ctx)
			_, _ = Turn(ctx, Ask{InputTokens: 10, OutputTokens: 10}, func(ctx context.Context, a *Attempt) (string, error) {
				if v.kind == "refused" && a.Number < 3 {
					return "", &pipeline.Error{Class: pipeline.ClassRefused, Code: "busy", Err: errors.New("busy")}
				}
				sent.Add(1)
				select {
				case <-time.After(v.latency):
				case <-ctx.Done():
					return "", ctx.Err()
				}
				switch v.kind {
				case "down":
					return "", pipeline.Transient("down", errors.New("down"))
				case "panic":
					panic("ouch")
				default:
					return "", nil
				}
			})
		})
	}
	wg.Wait()
	return sent.Load()
}

// TestEveryPermitIsUsedOrGivenBack: whoever gives up, is stopped, fails or panics, and
// in whichever moment: nothing is held after it, and the limiter has counted what was
// sent and not refused, no more and no less.
func TestEveryPermitIsUsedOrGivenBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		visits := rapid.SliceOfN(rapid.Custom(drawVisit), 1, 40).Draw(rt, "visits")
		parallelism := rapid.IntRange(1, 20).Draw(rt, "parallelism")
		ends := time.Duration(rapid.IntRange(0, 150).Draw(rt, "ends")) * 10 * time.Millisecond
		var err error
		synctest.Test(t, func(t *testing.T) {
			stop := make(chan struct{})
			l := NewLimiter(RateLimit{RequestsPerMinute: 6000})
			s := New(Settings{
				StepOptions: Defaults(pipeline.StepOptions{Parallelism: parallelism}, pipeline.Waits),
				Stop:        stop, Limiter: l,
			})
			defer time.AfterFunc(ends, func() { close(stop) }).Stop()
			taken := play(t.Context(), s, visits)
			g := &s.gate
			if spent := l.meters[Requests].spent; int64(spent) != taken || g.endpoints[0].inFlight != 0 || g.waiting() != 0 || g.ledger.onWire != 0 {
				err = fmt.Errorf("the limiter counts %v of %d requests; %d on the wire, %d waiting, %d counted in flight", spent, taken, g.endpoints[0].inFlight, g.waiting(), g.ledger.onWire)
			}
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}
