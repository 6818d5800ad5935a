package cache

import (
	"context"
	"sync"
)

// Flights make work that is wanted several times at once be done once. The zero
// Flights are ready to use.
type Flights[T any] struct {
	mu      sync.Mutex
	running map[Key]*flight[T]
	waiting int
}

// flight is work that is being done.
type flight[T any] struct {
	done  chan struct{} // closed at its end
	value T
	ok    bool
}

// Do returns what work returns. Where the same work runs already, its value is waited
// for and shared. Failures are not: then work is done after all, by each for himself.
// The error of a ctx that ends while waiting is its cause.
func (f *Flights[T]) Do(ctx context.Context, key Key, work func() (T, error)) (value T, shared bool, err error) {
	f.mu.Lock()
	first := f.running[key]
	if first == nil {
		mine := &flight[T]{done: make(chan struct{})}
		if f.running == nil {
			f.running = map[Key]*flight[T]{}
		}
		f.running[key] = mine
		f.mu.Unlock()
		value, err = f.lead(key, mine, work)
		return value, false, err
	}
	f.waiting++
	f.mu.Unlock()
	defer f.leave()
	select {
	case <-first.done:
	case <-ctx.Done():
		return value, false, context.Cause(ctx)
	}
	if first.ok {
		return first.value, true, nil
	}
	value, err = work()
	return value, false, err
}

// Waiting is how many wait for the work of another, or do it themselves after that failed.
func (f *Flights[T]) Waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting
}

func (f *Flights[T]) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
}

// lead does the work for all; those who wait go on also if it panics.
func (f *Flights[T]) lead(key Key, mine *flight[T], work func() (T, error)) (value T, err error) {
	defer func() {
		f.mu.Lock()
		delete(f.running, key)
		f.mu.Unlock()
		close(mine.done)
	}()
	value, err = work()
	mine.value, mine.ok = value, err == nil
	return value, err
}
