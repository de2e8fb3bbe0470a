package nar

import (
	"bytes"
	"fmt"
	"io"
	"slices"
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
	// While it is being written:
	outer *sink  // where everything else goes
	last  []byte // the latest entry before it
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
		return w.fail(err)
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
	l := late{depth: e.Depth, name: bytes.Clone(e.Name), spool: spool, outer: w.sink, last: bytes.Clone(w.at.last())}
	if err := w.at.list(e.Name); err != nil {
		return w.bad(w.at.path(), err)
	}
	w.sink = &sink{w: spool, size: lateSink}
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
	w.sink = l.outer
	w.at.rename(l.last)
	l.outer, l.last = nil, nil
	i, found := slices.BinarySearchFunc(w.waiting, l, func(a, b late) int {
		if a.depth != b.depth {
			return a.depth - b.depth
		}
		return bytes.Compare(a.name, b.name)
	})
	if found {
		w.at.rename(l.name)
		return w.bad(w.at.path(), &OrderError{Name: string(l.name), Last: string(l.name)})
	}
	w.waiting = slices.Insert(w.waiting, i, l)
	return nil
}

// release writes the late entries of this depth whose names are less than
// before; nil is before the end of the directory. Those of deeper
// directories are out by then.
func (w *Writer) release(depth int, before []byte) error {
	first := len(w.waiting)
	for first > 0 && w.waiting[first-1].depth == depth {
		first--
	}
	n := first
	for ; n < len(w.waiting) && (before == nil || bytes.Compare(w.waiting[n].name, before) < 0); n++ {
		l := w.waiting[n]
		if err := w.at.list(l.name); err != nil {
			return w.bad(w.at.path(), err)
		}
		if _, err := l.spool.WriteTo(w.sink); err != nil {
			return fmt.Errorf("nar: write %q: %w", w.at.path(), err)
		}
	}
	w.waiting = slices.Delete(w.waiting, first, n)
	return nil
}

// Write makes a sink what a Spool can write to.
func (s *sink) Write(p []byte) (int, error) {
	if err := s.contents(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
