package nar

import (
	"bytes"
	"fmt"
	"io"
)

// A Spill keeps the bytes of a deferred entry until the Writer reaches its place in the archive. The Writer first
// writes all of them, and then calls WriteTo once.
type Spill interface {
	io.Writer
	io.WriterTo
}

// deferred is an entry begun by WriteEntryDeferred.
type deferred struct {
	depth  int
	name   []byte
	spill  Spill    // nil once it is parked
	size   int64    // bytes in spill
	nested []nested // deferred entries inside it, in order, after those in notes
	notes  *notes   // of nested entries that are parked; nil: none

	marked bool // it stays in memory, because Writer.Mark was called in it or in an entry inside it

	// The numbers of the spill and the notes of a parked entry; 0: none.
	parked, parkedNotes int64

	// Set while the entry is being written to its spill:
	outer *sink // where everything outside the entry goes
	last  int   // where in Writer.lasts the name before it in its directory begins
}

// nested is a deferred entry inside another. It keeps its own Spill: if it were copied into the outer one, an entry
// below many deferred directories would be copied once for each of them.
//
// If place is set, there is no entry: it is a position for which Writer.Mark was called.
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
	if err := w.parkIfFull(); err != nil {
		return err
	}
	if err := w.place(e); err != nil {
		return err
	}
	if w.state == beforeRoot {
		return w.node(e) // the root has no siblings
	}
	if err := w.stopPassthrough(); err != nil {
		return err
	}
	d := w.newDeferred()
	*d = deferred{depth: e.Depth, name: append(d.name[:0], e.Name...), spill: spill, outer: w.sink, last: len(w.lasts)}
	w.lasts = append(w.lasts, w.at.last()...)
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

// newDeferred returns a deferred to overwrite. Only the memory of its name may be reused.
func (w *Writer) newDeferred() *deferred {
	n := len(w.free) - 1
	if n < 0 {
		return &deferred{}
	}
	d := w.free[n]
	w.free = w.free[:n]
	return d
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
	w.at.rename(w.lasts[d.last:])
	w.lasts, d.outer = w.lasts[:d.last], nil
	if d.notes != nil && !d.marked {
		// Entries in memory come after the notes, so they become notes, too.
		if err := w.parkNested(d); err != nil {
			return err
		}
	}
	if err := w.finishNotes(d); err != nil {
		return err
	}
	w.waiting.push(d)
	w.completed++
	return nil
}

// writeDeferred writes the deferred entries of this depth whose names are less than before, in order. With before nil
// it writes all of them, for the end of the directory. Those of deeper directories have been written by then.
func (w *Writer) writeDeferred(depth int, before []byte) error {
	for d := w.waiting.first(); d != nil; d = w.waiting.first() {
		if d.depth != depth || before != nil && bytes.Compare(d.name, before) >= 0 {
			return nil
		}
		if err := w.at.list(d.name); err != nil {
			return w.bad(w.at.path(), err)
		}
		if n := len(w.deferring); n > 0 {
			if err := w.nest(w.deferring[n-1], nested{at: w.sink.offset(), d: d}); err != nil {
				return err
			}
		} else if err := w.writeOut(d, 0); err != nil {
			return fmt.Errorf("nar: write: a deferred entry of %q: %w", w.at.dir(), err)
		}
		if err := w.waiting.drop(d); err != nil {
			return err
		}
	}
	return nil
}

// writeOut writes a deferred entry and those nested in it, at this level of nesting, to the output.
func (w *Writer) writeOut(d *deferred, level int) error {
	m := &merger{w: w, level: level, nested: d.nested}
	if d.parkedNotes != 0 {
		m.notes = newNotesReader(w.store.Open(d.parkedNotes), level)
	}
	err := m.next()
	if err != nil {
		return err
	}
	if d.spill == nil {
		err = m.copyParked(w.store.Open(d.parked))
	} else {
		_, err = d.spill.WriteTo(m)
	}
	if err != nil {
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
	w      *Writer
	level  int
	notes  *notesReader // of the first nested entries; nil: none, or all were read
	nested []nested     // that follow
	inner  *nested      // the one that comes next; nil: none
	at     int64        // bytes of the spill that were written
}

// next sets inner.
func (m *merger) next() error {
	if m.notes != nil {
		var err error
		if m.inner, err = m.notes.next(); err != io.EOF {
			return err
		}
		m.notes = nil
	}
	if m.inner = nil; len(m.nested) > 0 {
		m.inner, m.nested = &m.nested[0], m.nested[1:]
	}
	return nil
}

// until returns how many of n bytes may be written now. It first writes the nested entries that come before them.
func (m *merger) until(n int) (int, error) {
	for m.inner != nil && m.inner.at == m.at {
		if m.inner.place != nil {
			*m.inner.place = Place{Offset: m.w.sink.offset()}
		} else if err := m.w.writeOut(m.inner.d, m.level+1); err != nil {
			return 0, err
		}
		if err := m.next(); err != nil {
			return 0, err
		}
	}
	if m.inner != nil {
		n = int(min(int64(n), m.inner.at-m.at))
	}
	return n, nil
}

func (m *merger) Write(p []byte) (int, error) {
	size := len(p)
	for len(p) > 0 {
		n, err := m.until(len(p))
		if err == nil {
			err = m.w.sink.contents(p[:n])
		}
		if err != nil {
			return size - len(p), err
		}
		m.at += int64(n)
		p = p[n:]
	}
	return size, nil
}

// copyParked writes the bytes of a parked spill. All levels share one buffer.
func (m *merger) copyParked(r io.Reader) error {
	if m.w.copyBuf == nil {
		m.w.copyBuf = make([]byte, spillBufferSize)
	}
	for {
		n, err := m.until(len(m.w.copyBuf))
		if err != nil {
			return err
		}
		n, err = r.Read(m.w.copyBuf[:n])
		if n > 0 {
			if err := m.w.sink.contents(m.w.copyBuf[:n]); err != nil {
				return err
			}
			m.at += int64(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
