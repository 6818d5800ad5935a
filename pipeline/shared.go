package pipeline

import (
	"reflect"
	"sync"
)

// Shared is what the components of a program have in common where there must be one
// for all of them, an open file for instance: one value a type. The zero Shared is
// ready to use, by several goroutines.
type Shared struct {
	mu     sync.Mutex
	values map[reflect.Type]any
}

// SharedOf returns the value of type T, always the same; at first it is T's zero
// value. A nil s shares nothing: everybody gets a value of his own.
func SharedOf[T any](s *Shared) *T {
	if s == nil {
		return new(T)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if had, ok := s.values[reflect.TypeFor[T]()].(*T); ok {
		return had
	}
	if s.values == nil {
		s.values = map[reflect.Type]any{}
	}
	made := new(T)
	s.values[reflect.TypeFor[T]()] = made
	return made
}
