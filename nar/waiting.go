package nar

import (
	"bytes"
	"container/heap"
)

// waiting holds the deferred entries that wait for their place: those in memory, and runs of parked ones. The deepest
// come first, sorted by name.
type waiting struct {
	heap   deferredHeap
	marked deferredHeap // those that stay in memory
	runs   runHeap
}

func (w *waiting) push(d *deferred) {
	if d.marked {
		heap.Push(&w.marked, d)
	} else {
		heap.Push(&w.heap, d)
	}
}

// first returns the first entry, nil if there is none. It is valid until drop is called.
func (w *waiting) first() *deferred {
	var d *deferred
	for _, h := range []deferredHeap{w.heap, w.marked} {
		if len(h) > 0 && (d == nil || compareDeferred(h[0], d) < 0) {
			d = h[0]
		}
	}
	if len(w.runs) > 0 && (d == nil || compareDeferred(&w.runs[0].head, d) < 0) {
		d = &w.runs[0].head
	}
	return d
}

// drop removes d, which first returned. Nothing may have been pushed since.
func (w *waiting) drop(d *deferred) error {
	for _, h := range []*deferredHeap{&w.heap, &w.marked} {
		if len(*h) > 0 && (*h)[0] == d {
			heap.Pop(h)
			return nil
		}
	}
	more, err := w.runs[0].next()
	if err != nil {
		return err
	}
	if more {
		heap.Fix(&w.runs, 0)
	} else {
		heap.Pop(&w.runs)
	}
	return nil
}

// compareDeferred compares two entries by the order in which they are written.
func compareDeferred(a, b *deferred) int {
	if a.depth != b.depth {
		return b.depth - a.depth
	}
	return bytes.Compare(a.name, b.name)
}

type deferredHeap []*deferred

func (h deferredHeap) Len() int           { return len(h) }
func (h deferredHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h deferredHeap) Less(i, j int) bool { return compareDeferred(h[i], h[j]) < 0 }
func (h *deferredHeap) Push(d any)        { *h = append(*h, d.(*deferred)) }
func (h *deferredHeap) Pop() any          { return popLast((*[]*deferred)(h)) }

type runHeap []*run

func (h *runHeap) init() { heap.Init(h) }

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h runHeap) Less(i, j int) bool { return compareDeferred(&h[i].head, &h[j].head) < 0 }
func (h *runHeap) Push(r any)        { *h = append(*h, r.(*run)) }
func (h *runHeap) Pop() any          { return popLast((*[]*run)(h)) }

func popLast[T any](list *[]*T) *T {
	last := len(*list) - 1
	x := (*list)[last]
	(*list)[last] = nil
	*list = (*list)[:last]
	return x
}
