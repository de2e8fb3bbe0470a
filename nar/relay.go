package nar

import (
	"errors"
	"io"
)

// relayTail is what the root's last ")" takes. As long as an archive may be
// at fault, its last bytes stay in the buffer.
const relayTail = 16

// Relay has w pass on what is taken from r, as it stands in r's buffer with
// the changes that the caller made there, instead of copying and encoding it
// again. Everything else is as without it: each entry that r.Next returns is
// given to WriteEntry, and contents, as Peek shows them, to Write before they
// are taken; both check what they check otherwise, and write nothing.
// contents that are not what is taken next, where they lie, are an error.
// WriteEntryLate ends it; Close fails unless r.Next has returned io.EOF.
//
// Relay is called before the first call of r.Next and w.WriteEntry, for an
// archive that is a stream of its own on both sides. Otherwise nothing happens,
// and w encodes: a caller need not know which.
func (w *Writer) Relay(r *Reader) {
	if w.inside || r.inside || w.state != beforeRoot || r.state != atStart || w.err != nil || r.err != nil {
		return
	}
	w.relay = r
	r.src.to, r.src.mark = w.sink, r.src.pos
}

// Withhold begins contents that are written in another way than they are taken:
// until Resume, what is taken is not passed on, and what Write gets is written.
// Without Relay it does nothing. Its error is the output's, and sticky.
func (w *Writer) Withhold() error {
	if w.err != nil || w.relay == nil {
		return w.err
	}
	if err := w.relay.src.passAll(); err != nil {
		return w.fail(err)
	}
	w.relay.src.withheld = true
	return nil
}

// Resume ends what Withhold began: what was taken meanwhile is dropped, and what
// was written leaves the buffer. Its error is the output's, and sticky.
func (w *Writer) Resume() error {
	if w.err != nil || w.relay == nil {
		return w.err
	}
	s := w.relay.src
	s.withheld, s.mark = false, s.pos
	if err := w.sink.flush(); err != nil {
		return w.fail(err)
	}
	return nil
}

// relays tells whether what is written now is passed on by the Reader.
func (w *Writer) relays() bool { return w.relay != nil && !w.relay.src.withheld }

// endRelay passes on what is before the entry that r.Next returned last.
func (w *Writer) endRelay() error {
	if w.relay == nil {
		return nil
	}
	s := w.relay.src
	start := int(w.relay.start - s.base)
	err := w.sink.contents(s.buf[s.mark:start])
	s.to, w.relay = nil, nil
	return err
}

// finishRelay passes on the end of an archive that was read to its end.
func (w *Writer) finishRelay() error {
	if w.relay == nil {
		return nil
	}
	if w.relay.err != io.EOF {
		return w.bad("", errors.New("close: the archive that is passed on was not read to its end"))
	}
	err := w.relay.src.passAll()
	w.relay.src.to, w.relay = nil, nil
	return err
}

// shows tells whether p is what is taken next, where it lies.
func (s *source) shows(p []byte) bool {
	return len(p) == 0 || len(p) <= s.end-s.pos && &p[0] == &s.buf[s.pos]
}

// A passError is one of the output, met while the input was read.
type passError struct{ error }

// pass passes on what was taken, but for its last bytes.
func (s *source) pass() error {
	if s.withheld {
		s.mark = s.pos
		return nil
	}
	if s.pos-s.mark <= relayTail {
		return nil
	}
	from := s.mark
	s.mark = s.pos - relayTail
	if err := s.to.output(s.buf[from:s.mark]); err != nil {
		s.err = &passError{err}
		return s.err
	}
	return nil
}

// passAll puts what was taken into the output's buffer.
func (s *source) passAll() error {
	from := s.mark
	s.mark = s.pos
	return s.to.contents(s.buf[from:s.pos])
}
