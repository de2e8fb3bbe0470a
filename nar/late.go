package nar

import (
	"bytes"
	"container/heap"
	"fmt"
	"io"
)

// A Spool keeps the bytes of an entry until its turn comes. They are written
// first, and then taken once by WriteTo.
type Spool interface {
	io.Writer
	io.WriterTo
}

// late is an entry that was begun by WriteEntryLate.
type late struct {
	depth int
	name  []byte
	spool Spool
	size  int64  // bytes in spool
	parts []part // late entries inside it, in order

	// While it is being written:
	outer *sink  // where everything else goes
	last  []byte // the latest entry before it
}

// part is a late entry inside another. It stays in a Spool of its own, or
// entries at the bottom of many late directories would be copied as often.
type part struct {
	at int64 // bytes of the outer entry's spool before it
	l  *late
}

// lateSink is the size of the buffer before a Spool.
const lateSink = 32 << 10

// WriteEntryLate is WriteEntry for an entry that may belong behind siblings
// that come later: it, and all that is in it, goes to spool, and from there
// to the output before the first later sibling with a greater name, or at
// the end of the directory.
func (w *Writer) WriteEntryLate(e *Entry, spool Spool) error {
	if w.err != nil {
		return w.err
	}
	if err := w.entryLate(e, spool); err != nil {
		return w.failEntry(err)
	}
	return nil
}

func (w *Writer) entryLate(e *Entry, spool Spool) error {
	if err := w.place(e); err != nil {
		return err
	}
	if w.state == beforeRoot {
		return w.node(e) // the root has no siblings
	}
	if err := w.endRelay(); err != nil {
		return err
	}
	l := &late{depth: e.Depth, name: bytes.Clone(e.Name), spool: spool, outer: w.sink, last: bytes.Clone(w.at.last())}
	if err := w.at.list(e.Name); err != nil {
		return w.bad(w.at.path(), err)
	}
	// One buffer goes round among late entries inside each other: only the
	// innermost is written to.
	if len(w.writing) > 0 {
		if err := w.sink.flush(); err != nil {
			return err
		}
		w.lateBuf, w.sink.buf = w.sink.buf, nil
	}
	w.sink = &sink{w: spool, size: lateSink, buf: w.lateBuf}
	w.writing = append(w.writing, l)
	return w.node(e)
}

// settle ends the late entry of this depth that is being written, if any.
func (w *Writer) settle(depth int) error {
	n := len(w.writing)
	if n == 0 || w.writing[n-1].depth != depth {
		return nil
	}
	l := w.writing[n-1]
	w.writing = w.writing[:n-1]
	if err := w.sink.flush(); err != nil {
		return err
	}
	l.size = w.sink.offset()
	w.lateBuf, w.sink = w.sink.buf, l.outer
	if n > 1 {
		w.sink.buf = w.lateBuf
	}
	w.at.rename(l.last)
	l.outer, l.last = nil, nil
	heap.Push(&w.waiting, l)
	return nil
}

// release writes the late entries of this depth whose names are less than
// before; nil is before the end of the directory. Those of deeper
// directories are out by then.
func (w *Writer) release(depth int, before []byte) error {
	for len(w.waiting) > 0 && w.waiting[0].depth == depth && (before == nil || bytes.Compare(w.waiting[0].name, before) < 0) {
		l := heap.Pop(&w.waiting).(*late)
		if err := w.at.list(l.name); err != nil {
			return w.bad(w.at.path(), err)
		}
		if n := len(w.writing); n > 0 {
			outer := w.writing[n-1]
			outer.parts = append(outer.parts, part{w.sink.offset(), l})
		} else if err := l.emit(w.sink); err != nil {
			return fmt.Errorf("nar: write: a late entry of %q: %w", w.at.dir(), err)
		}
	}
	return nil
}

// emit writes a late entry, and those inside it.
func (l *late) emit(to *sink) error {
	j := &joint{to: to, parts: l.parts}
	if _, err := l.spool.WriteTo(j); err != nil {
		return err
	}
	if j.at != l.size {
		return fmt.Errorf("its spool gave %d bytes back of %d", j.at, l.size)
	}
	l.parts = nil
	return nil
}

// joint puts the parts of a late entry where they belong between the bytes of
// its spool.
type joint struct {
	to    *sink
	parts []part
	at    int64 // bytes of the spool that were written
}

func (j *joint) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		m := len(p)
		if len(j.parts) > 0 {
			if j.parts[0].at == j.at {
				if err := j.parts[0].l.emit(j.to); err != nil {
					return n - len(p), err
				}
				j.parts = j.parts[1:]
				continue
			}
			m = int(min(int64(m), j.parts[0].at-j.at))
		}
		if err := j.to.contents(p[:m]); err != nil {
			return n - len(p), err
		}
		j.at += int64(m)
		p = p[m:]
	}
	return n, nil
}

// lates is a heap of the late entries whose turn comes: the deepest first, and
// of those the one with the least name.
type lates []*late

func (h lates) Len() int      { return len(h) }
func (h lates) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *lates) Push(l any)   { *h = append(*h, l.(*late)) }

func (h lates) Less(i, j int) bool {
	if h[i].depth != h[j].depth {
		return h[i].depth > h[j].depth
	}
	return bytes.Compare(h[i].name, h[j].name) < 0
}

func (h *lates) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return l
}
