package nar

import (
	"bytes"
	"container/heap"
	"fmt"
	"io"
)

// A Spill keeps the bytes of a deferred entry until its place in the archive comes. The Writer first writes all of them,
// and then calls WriteTo once.
type Spill interface {
	io.Writer
	io.WriterTo
}

// deferred is an entry that was begun by WriteEntryDeferred.
type deferred struct {
	depth  int
	name   []byte
	spill  Spill
	size   int64    // bytes in spill
	nested []nested // deferred entries inside it, in order

	// Set while the entry is being written to its spill:
	outer *sink  // where everything outside the entry goes
	last  []byte // the name before it in its directory
}

// nested is a deferred entry inside another. It keeps its own Spill: if it were copied into the outer one, an entry
// below many deferred directories would be copied once for each of them.
//
// A nested with a place is none: something that Writer.Mark was asked about begins there.
type nested struct {
	at    int64 // bytes of the outer entry's spill before it
	d     *deferred
	place *Place
}

// spillBufferSize is the size of the buffer in front of a Spill.
const spillBufferSize = 32 << 10

// WriteEntryDeferred is WriteEntry for an entry that may belong after siblings that are written later. The entry, and
// all that is in it, goes to spill. From there it goes to the output before the first later sibling with a greater
// name, or at the end of the directory.
func (w *Writer) WriteEntryDeferred(e *Entry, spill Spill) error {
	if w.err != nil {
		return w.err
	}
	if err := w.beginDeferred(e, spill); err != nil {
		return w.failEntry(err)
	}
	return nil
}

func (w *Writer) beginDeferred(e *Entry, spill Spill) error {
	if err := w.place(e); err != nil {
		return err
	}
	if w.state == beforeRoot {
		return w.node(e) // the root has no siblings
	}
	if err := w.stopPassthrough(); err != nil {
		return err
	}
	d := &deferred{depth: e.Depth, name: bytes.Clone(e.Name), spill: spill, outer: w.sink, last: bytes.Clone(w.at.last())}
	if err := w.at.list(e.Name); err != nil {
		return w.bad(w.at.path(), err)
	}
	// Nested deferred entries share one buffer: only the innermost is being written.
	if len(w.deferring) > 0 {
		if err := w.sink.flush(); err != nil {
			return err
		}
		w.spillBuf, w.sink.buf = w.sink.buf, nil
	}
	w.sink = &sink{w: spill, size: spillBufferSize, buf: w.spillBuf}
	w.deferring = append(w.deferring, d)
	return w.node(e)
}

// endDeferred ends the deferred entry of this depth that is being written to its spill, if there is one.
func (w *Writer) endDeferred(depth int) error {
	n := len(w.deferring)
	if n == 0 || w.deferring[n-1].depth != depth {
		return nil
	}
	d := w.deferring[n-1]
	w.deferring = w.deferring[:n-1]
	if err := w.sink.flush(); err != nil {
		return err
	}
	d.size = w.sink.offset()
	w.spillBuf, w.sink = w.sink.buf, d.outer
	if n > 1 {
		w.sink.buf = w.spillBuf
	}
	w.at.rename(d.last)
	d.outer, d.last = nil, nil
	heap.Push(&w.waiting, d)
	return nil
}

// writeDeferred writes the deferred entries of this depth whose names are less than before, in order. With before nil
// it writes all of them, for the end of the directory. Those of deeper directories have been written by then.
func (w *Writer) writeDeferred(depth int, before []byte) error {
	for len(w.waiting) > 0 && w.waiting[0].depth == depth && (before == nil || bytes.Compare(w.waiting[0].name, before) < 0) {
		d := heap.Pop(&w.waiting).(*deferred)
		if err := w.at.list(d.name); err != nil {
			return w.bad(w.at.path(), err)
		}
		if n := len(w.deferring); n > 0 {
			outer := w.deferring[n-1]
			outer.nested = append(outer.nested, nested{at: w.sink.offset(), d: d})
		} else if err := d.writeTo(w.sink); err != nil {
			return fmt.Errorf("nar: write: a deferred entry of %q: %w", w.at.dir(), err)
		}
	}
	return nil
}

// writeTo writes a deferred entry and those nested in it.
func (d *deferred) writeTo(to *sink) error {
	m := &merger{to: to, nested: d.nested}
	if _, err := d.spill.WriteTo(m); err != nil {
		return err
	}
	if m.at != d.size {
		return fmt.Errorf("its spill returned %d bytes of %d", m.at, d.size)
	}
	d.nested = nil
	return nil
}

// merger takes the bytes of a deferred entry's spill and writes them with the nested entries in their places.
type merger struct {
	to     *sink
	nested []nested
	at     int64 // bytes of the spill that were written
}

func (m *merger) Write(p []byte) (int, error) {
	size := len(p)
	for len(p) > 0 {
		n := len(p)
		if len(m.nested) > 0 {
			if next := m.nested[0]; next.at == m.at {
				if next.place != nil {
					*next.place = Place{Offset: m.to.offset()}
				} else if err := next.d.writeTo(m.to); err != nil {
					return size - len(p), err
				}
				m.nested = m.nested[1:]
				continue
			}
			n = int(min(int64(n), m.nested[0].at-m.at))
		}
		if err := m.to.contents(p[:n]); err != nil {
			return size - len(p), err
		}
		m.at += int64(n)
		p = p[n:]
	}
	return size, nil
}

// deferredHeap is a heap of the deferred entries that wait for their place: the deepest first, and of those the one with
// the least name.
type deferredHeap []*deferred

func (h deferredHeap) Len() int      { return len(h) }
func (h deferredHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *deferredHeap) Push(d any)   { *h = append(*h, d.(*deferred)) }

func (h deferredHeap) Less(i, j int) bool {
	if h[i].depth != h[j].depth {
		return h[i].depth > h[j].depth
	}
	return bytes.Compare(h[i].name, h[j].name) < 0
}

func (h *deferredHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return d
}
