package nar

import "io"

// A Place is a position in the output of a Writer. A Place in a deferred entry changes when the entry is moved to the
// output.
type Place struct {
	// Spill contains the Place while the deferred entry waits. Then Offset counts from the start of the Spill, otherwise
	// from the start of the output.
	Spill  Spill
	Offset int64
}

// Mark returns the Place of the bytes written next, such as the contents of the file that was just begun. The Writer
// updates it until Close.
func (w *Writer) Mark() *Place {
	n := len(w.deferring)
	if n == 0 {
		return &Place{Offset: w.Offset()}
	}
	d := w.deferring[n-1]
	p := &Place{d.spill, w.sink.offset()}
	d.nested = append(d.nested, nested{at: p.Offset, place: p})
	for i := n - 1; i >= 0 && !w.deferring[i].marked; i-- {
		w.deferring[i].marked = true
	}
	return p
}

// Divert makes to the output, and returns the previous output, which then has size bytes. Everything written before
// goes to the previous output, except the entry begun last, if it is still in the buffer. If to is the current output,
// Divert only flushes the buffer.
//
// Divert also works after Close. Offsets continue.
func (w *Writer) Divert(to io.Writer) (from io.Writer, size int64, err error) {
	out := w.outermost()
	if w.err != nil {
		return out.w, out.off, w.err
	}
	if w.passing() {
		s := w.from.src
		if start := int(w.from.start - s.base); start > s.mark {
			err = out.contents(s.buf[s.mark:start])
			s.mark = start
		}
	}
	if err == nil && len(w.deferring) > 0 {
		err = w.sink.flush() // of the deferred entry, which may be read in its Spill
	}
	if err == nil {
		err = out.flush()
	}
	if err != nil {
		return out.w, out.off, w.fail(err)
	}
	from, out.w = out.w, to
	return from, out.off, nil
}

// outermost returns the sink of everything that is not deferred.
func (w *Writer) outermost() *sink {
	if len(w.deferring) > 0 {
		return w.deferring[0].outer
	}
	return w.sink
}
