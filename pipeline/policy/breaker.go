package policy

import (
	"math"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/rowmill/rowmill/pipeline"
)

// outcome is what an attempt says about the other end.
type outcome uint8

const (
	answered  outcome = iota // it works, whether it liked the question or not
	failed                   // it does not
	refused                  // it is too busy: neither
	cancelled                // we did not let it finish
	void                     // nothing: a panic of ours, an attempt that was not made
	expelled                 // it is of no use, and there is another
)

// breaker says whether the other end is there. It is the circuit breaker of
// failsafe-go, asked and told only under the gate's lock. The gate waits for its
// changes instead of asking it again and again: half-open it has a remaining delay
// of 0 while the one probe is out, and whoever retries on that spins.
type breaker struct {
	circuit circuitbreaker.CircuitBreaker[any] // nil if there is none
	state   circuitbreaker.State
	epoch   int  // counts the changes of state
	probing bool // half-open, and the probe is on the wire
}

// pass is an attempt's permit.
type pass struct {
	epoch int
	probe bool
}

// setUp makes the breaker of the options. It opens when so many of the last
// max(20, parallelism) attempts have failed that even if those not yet made were to
// succeed, the rate is reached; so an outage at the very start opens it as well.
func (b *breaker) setUp(o pipeline.StepOptions) {
	if o.Breaker.Off {
		return
	}
	window := max(20, o.Parallelism)
	failures := min(max(1, int(math.Ceil(float64(o.Breaker.FailureRate)*float64(window)))), window)
	b.circuit = circuitbreaker.NewBuilder[any]().
		WithFailureThresholdRatio(uint(failures), uint(window)).
		WithSuccessThreshold(1).
		WithDelay(o.Breaker.OpenFor).
		OnStateChanged(b.changed).
		Build()
}

// changed is called from within the circuit's own methods, so under the gate's lock.
func (b *breaker) changed(e circuitbreaker.StateChangedEvent) {
	b.state = e.NewState
	b.epoch++
	b.probing = false
}

func (b *breaker) closed() bool { return b.state == circuitbreaker.ClosedState }

// open reports whether an attempt may be made; if not, when to ask again, the zero
// time if the probe decides.
func (b *breaker) open(now time.Time) (again time.Time, ok bool) {
	switch {
	case b.closed():
		return time.Time{}, true
	case b.state == circuitbreaker.HalfOpenState:
		return time.Time{}, !b.probing
	default:
		left := b.circuit.RemainingDelay()
		return now.Add(left), left == 0
	}
}

// take takes the permit of an attempt that open allowed.
func (b *breaker) take() pass {
	if b.closed() {
		return pass{epoch: b.epoch}
	}
	b.circuit.TryAcquirePermit() // half-opens
	b.probing = true
	return pass{epoch: b.epoch, probe: true}
}

// settle tells the breaker how an attempt ended. It reports whether that counts:
// what was sent before the last change of state does not speak for the present,
// and would give back a permit that it never took.
func (b *breaker) settle(p pass, o outcome) bool {
	switch {
	case p.epoch != b.epoch:
		return false
	case b.circuit == nil:
	case o == answered:
		b.circuit.RecordSuccess()
	case o == failed, o == cancelled && p.probe: // a permit that is not recorded is lost
		b.circuit.RecordFailure()
	case p.probe: // not known: another probe, at once
		b.circuit.Open()
		b.circuit.HalfOpen()
	}
	return true
}
