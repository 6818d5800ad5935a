package policy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// TestLetThroughAndStoppedAtOnce looks at the moment in which a waiter has been let
// through but does not know yet, and is told to stop. It must not send, and what it
// took must be free again. Both ways of noticing it are taken at random.
func TestLetThroughAndStoppedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			limiter := NewLimiter(RateLimit{RequestsPerMinute: 60})
			g := &New(Settings{StepOptions: Defaults(pipeline.StepOptions{}, pipeline.Waits), Limiter: limiter}).gate
			g.endpoints[0].breaker.circuit.HalfOpen()
			ctx, cancel := context.WithCancel(t.Context())
			w := &waiter{ticket: 1}
			g.mu.Lock()
			g.join(w, time.Now())
			g.mu.Unlock()
			if !g.endpoints[0].breaker.probing || len(w.admitted) != 1 {
				t.Fatal("the first to come is not the probe")
			}
			cancel()
			if err := g.wait(ctx, w); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, want the end of the context", err)
			}
			if _, ok := g.endpoints[0].breaker.open(time.Now()); !ok || g.endpoints[0].inFlight != 0 || g.attempts != 0 {
				t.Fatalf("permit free = %t, in flight = %d, attempts = %d; want true, 0, 0", ok, g.endpoints[0].inFlight, g.attempts)
			}
			if m := limiter.meters[Requests]; m.due != 0 || m.spent != 0 {
				t.Fatalf("due %v, spent %v, want what was taken to be given back", m.due, m.spent)
			}
		}
	})
}
