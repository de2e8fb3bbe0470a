package nar

import (
	"errors"
	"io"
)

// passthroughTail is the length of the root's last ")". These bytes stay in the buffer while the archive may still turn
// out to be malformed.
const passthroughTail = 16

// PassThrough makes w pass on the bytes taken from r, directly from r's buffer and with the changes that the caller
// made there, instead of copying and encoding them again. The calls stay the same: the caller passes each entry that
// r.Next returns to WriteEntry, and contents, as Peek returned them, to Write before Discard takes them. Both make
// their usual checks, and write nothing. Write returns an error for contents other than the bytes in the buffer that
// are taken next. WriteEntryDeferred ends the passthrough; Close fails unless r.Next has returned io.EOF.
//
// PassThrough must be called before the first call of r.Next and w.WriteEntry, for an archive that is the whole stream
// on both sides. Otherwise it does nothing and w encodes, so a caller need not distinguish the two.
func (w *Writer) PassThrough(r *Reader) {
	if w.inside || r.inside || w.state != beforeRoot || r.state != atStart || w.err != nil || r.err != nil {
		return
	}
	w.from = r
	r.src.to, r.src.mark = w.sink, r.src.pos
}

// Withhold suspends PassThrough until Resume: bytes taken from the Reader are not passed on, and Write writes its
// argument. Without PassThrough it does nothing. It returns the sticky error of the output.
func (w *Writer) Withhold() error {
	if w.err != nil || w.from == nil {
		return w.err
	}
	if err := w.from.src.passAll(); err != nil {
		return w.fail(err)
	}
	w.from.src.withheld = true
	return nil
}

// Resume ends Withhold: it drops the bytes taken meanwhile and flushes those written. It returns the sticky error of
// the output.
func (w *Writer) Resume() error {
	if w.err != nil || w.from == nil {
		return w.err
	}
	s := w.from.src
	s.withheld, s.mark = false, s.pos
	if err := w.sink.flush(); err != nil {
		return w.fail(err)
	}
	return nil
}

// passing reports whether the Reader now passes on its bytes.
func (w *Writer) passing() bool { return w.from != nil && !w.from.src.withheld }

// stopPassthrough passes on the bytes before the entry that r.Next returned last, and ends the passthrough.
func (w *Writer) stopPassthrough() error {
	if w.from == nil {
		return nil
	}
	s := w.from.src
	start := int(w.from.start - s.base)
	err := w.sink.contents(s.buf[s.mark:start])
	s.to, w.from = nil, nil
	return err
}

// finishPassthrough passes on the last bytes of an archive that was read to its end.
func (w *Writer) finishPassthrough() error {
	if w.from == nil {
		return nil
	}
	if w.from.err != io.EOF {
		return w.bad("", errors.New("close: the input archive was not read to its end"))
	}
	err := w.from.src.passAll()
	w.from.src.to, w.from = nil, nil
	return err
}

// isNext reports whether p is the bytes in the buffer that are taken next.
func (s *source) isNext(p []byte) bool {
	return len(p) == 0 || len(p) <= s.end-s.pos && &p[0] == &s.buf[s.pos]
}

// A passError is an error of the output that occurred while the input was read.
type passError struct{ error }

// pass passes on the bytes taken, except for the last ones.
func (s *source) pass() error {
	if s.withheld {
		s.mark = s.pos
		return nil
	}
	if s.pos-s.mark <= passthroughTail {
		return nil
	}
	from := s.mark
	s.mark = s.pos - passthroughTail
	if err := s.to.output(s.buf[from:s.mark]); err != nil {
		s.err = &passError{err}
		return s.err
	}
	return nil
}

// passAll puts the bytes taken into the output's buffer.
func (s *source) passAll() error {
	from := s.mark
	s.mark = s.pos
	return s.to.contents(s.buf[from:s.pos])
}
