package policy

import "container/heap"

// queue is a heap of waiters.
type queue struct {
	list []*waiter
	less func(a, b *waiter) bool
}

func byRest(a, b *waiter) bool {
	if a.rest.Equal(b.rest) {
		return a.ticket < b.ticket
	}
	return a.rest.Before(b.rest)
}

func byTicket(a, b *waiter) bool { return a.ticket < b.ticket }

func (q *queue) push(w *waiter) {
	w.in = q
	heap.Push(q, w)
}

func (q *queue) remove(w *waiter) {
	heap.Remove(q, w.index)
	w.in = nil
}

// Len implements [heap.Interface].
func (q *queue) Len() int { return len(q.list) }

// Less implements [heap.Interface].
func (q *queue) Less(i, j int) bool { return q.less(q.list[i], q.list[j]) }

// Swap implements [heap.Interface].
func (q *queue) Swap(i, j int) {
	q.list[i], q.list[j] = q.list[j], q.list[i]
	q.list[i].index, q.list[j].index = i, j
}

// Push implements [heap.Interface].
func (q *queue) Push(x any) {
	w := x.(*waiter)
	w.index = len(q.list)
	q.list = append(q.list, w)
}

// Pop implements [heap.Interface].
func (q *queue) Pop() any {
	last := len(q.list) - 1
	w := q.list[last]
	q.list[last] = nil
	q.list = q.list[:last]
	return w
}
