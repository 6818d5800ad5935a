package cache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/rowmill/rowmill/internal/cache"
)

func TestFlights(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range []struct {
		name   string
		first  func() (int, error)
		works  int // how often it was done
		shares int
	}{
		{"one for all", func() (int, error) { return 7, nil }, 1, 4},
		{"failures are not shared", func() (int, error) { return 0, broken }, 5, 0},
		{"nor panics", func() (int, error) { panic("broken") }, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var f cache.Flights[int]
				release := make(chan struct{})
				started := make(chan bool, 5) // as many as there are
				shares := make(chan bool, 5)
				go func() {
					defer func() { _ = recover() }() // one of the cases
					_, _, _ = f.Do(t.Context(), keyOf(1), func() (int, error) { started <- true; <-release; return c.first() })
				}()
				synctest.Wait()
				for range 4 {
					go func() {
						value, shared, err := f.Do(t.Context(), keyOf(1), func() (int, error) { started <- true; return 7, nil })
						if value != 7 || err != nil {
							t.Errorf("got %d, %v, want 7", value, err)
						}
						if shared {
							shares <- true
						}
					}()
				}
				if _, _, err := f.Do(t.Context(), keyOf(2), func() (int, error) { return 8, nil }); err != nil {
					t.Errorf("other work: %v", err)
				}
				synctest.Wait()
				if f.Waiting() != 4 || len(started) != 1 {
					t.Errorf("%d wait, %d work, want 4 and 1", f.Waiting(), len(started))
				}
				close(release)
				synctest.Wait()
				if len(started) != c.works || len(shares) != c.shares || f.Waiting() != 0 {
					t.Errorf("done %d times, shared %d times; want %d, %d", len(started), len(shares), c.works, c.shares)
				}
				if value, shared, err := f.Do(t.Context(), keyOf(1), func() (int, error) { return 9, nil }); value != 9 || shared || err != nil {
					t.Errorf("afterwards: got %d, %v, %v; want 9 of its own", value, shared, err)
				}
			})
		})
	}
}

func TestFlightsEndWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f cache.Flights[int]
		release := make(chan struct{})
		go func() { _, _, _ = f.Do(t.Context(), keyOf(1), func() (int, error) { <-release; return 7, nil }) }()
		synctest.Wait()
		reason := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		go cancel(reason)
		if _, _, err := f.Do(ctx, keyOf(1), func() (int, error) { t.Error("it worked"); return 0, nil }); !errors.Is(err, reason) {
			t.Errorf("got %v, want the cause", err)
		}
		close(release)
	})
}
