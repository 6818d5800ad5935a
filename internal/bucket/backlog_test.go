package bucket

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// TestBacklog: whoever adds waits until there is room, or until nobody waits for it any more.
func TestBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b Backlog
		b.Set(4)
		ctx, cancel := context.WithCancel(t.Context())
		ended := map[string]error{}
		done := make(chan struct{}, 2)
		for name, most := range map[string]int{"four": 4, "two": 2} {
			go func() {
				err := b.Wait(ctx, most)
				ended[name] = err
				done <- struct{}{}
			}()
		}
		synctest.Wait()
		if len(ended) != 0 {
			t.Errorf("with 4, %v did not wait", ended)
		}
		b.Set(3)
		<-done
		if err, ok := ended["four"]; !ok || err != nil {
			t.Errorf("with 3, there is room for one: %v", ended)
		}
		cancel()
		<-done
		if !errors.Is(ended["two"], context.Canceled) {
			t.Errorf("got %v", ended)
		}
	})
}
