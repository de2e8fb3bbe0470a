package nar

import (
	"errors"
	"io"
	"sync"
)

const (
	// readAhead is how far a Reader reads ahead. It fits into the second-level cache, and is half of the largest pipe that
	// Linux allows an ordinary user: with less, the program that writes to the pipe is woken more often.
	readAhead = 512 << 10
	// bufferSize is how much a Writer buffers.
	bufferSize = 256 << 10
	// maxPeek is the maximum number of bytes that Peek waits for, and from which on Read bypasses the buffer.
	maxPeek = 64 << 10
)

// smallBuffer is enough for an archive that is known to be short.
const smallBuffer = 16 << 10

// source is a buffered input. Bytes that have been read and not yet taken stay in place, so callers can inspect and
// change them without a copy.
type source struct {
	r        io.Reader
	size     int // of the buffer, once there is one
	buf      []byte
	pos, end int   // buf[pos:end] is read and not taken
	base     int64 // offset in the stream of buf[0]
	err      error // of r, returned once the buffer is empty

	// Set by Writer.PassThrough:
	to       *sink // gets the bytes taken
	mark     int   // buf[mark:pos] has been taken and not passed on
	withheld bool  // nothing is passed on
}

func newSource(r io.Reader) *source {
	s := &source{r: r, size: readAhead}
	if short, ok := r.(interface{ Len() int }); ok {
		// With many small archives, allocating large buffers would take most of the time.
		s.size = min(max(short.Len(), smallBuffer), readAhead)
	}
	return s
}

// smallBuffers holds the buffers of small archives that were read to their end.
var smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}

func (s *source) newBuffer() []byte {
	if s.size == smallBuffer {
		return smallBuffers.Get().(*[smallBuffer]byte)[:]
	}
	return make([]byte, s.size)
}

// release releases the buffer of a small archive after its last byte. No slices of it are in use any more.
func (s *source) release() {
	if s.size != smallBuffer || s.buf == nil || s.to != nil {
		return
	}
	s.base += int64(s.pos)
	smallBuffers.Put((*[smallBuffer]byte)(s.buf))
	s.buf, s.pos, s.end = nil, 0, 0
}

// offset returns the offset in the stream of the first byte that has not been taken.
func (s *source) offset() int64 { return s.base + int64(s.pos) }

// need makes at least n bytes available at buf[pos:end]. If the input ends before that, it returns io.EOF and fewer are
// available.
func (s *source) need(n int) error {
	if s.end-s.pos >= n {
		return nil
	}
	return s.fill(n)
}

func (s *source) fill(n int) error {
	if s.buf == nil {
		s.buf = s.newBuffer()
	}
	if err := s.clear(n); err != nil {
		return err
	}
	for s.end-s.pos < n {
		m, err := s.read(s.buf[s.end:])
		s.end += m
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads at least one byte, or returns the error that ended the input.
func (s *source) read(p []byte) (int, error) {
	for range 100 {
		if s.err != nil {
			return 0, s.err
		}
		var n int
		n, s.err = s.r.Read(p)
		if n < 0 || n > len(p) {
			s.err = errors.New("nar: the input's Read returned an impossible count")
			return 0, s.err
		}
		if n > 0 {
			return n, nil
		}
	}
	if s.err == nil {
		s.err = io.ErrNoProgress
	}
	return 0, s.err
}

// direct reports whether the buffer is empty and may be bypassed.
func (s *source) direct() bool { return s.pos == s.end && (s.to == nil || s.withheld) }

// readInto takes bytes without the buffer. direct must be true.
func (s *source) readInto(p []byte) (int, error) {
	n, err := s.read(p)
	s.base += int64(n)
	return n, err
}

// clear makes room in the buffer for n bytes from pos on.
func (s *source) clear(n int) error {
	first := s.pos
	if s.to != nil {
		// Collect small reads, to pass them on together.
		if s.pos+n <= len(s.buf) && s.end <= len(s.buf)/2 {
			return nil
		}
		if err := s.pass(); err != nil {
			return err
		}
		first = s.mark
	}
	// The rest is short (a field, or bytes that a matcher has not released), so it is cheap to move, and the next read
	// can be large.
	if first > 0 {
		copy(s.buf, s.buf[first:s.end])
		s.base += int64(first)
		s.pos -= first
		s.end -= first
		s.mark = 0
	}
	if s.pos+n > len(s.buf) {
		return errors.New("nar: internal error: lookahead beyond the buffer")
	}
	return nil
}

// skip takes n bytes, which may be more than fit into the buffer.
func (s *source) skip(n int64) error {
	for {
		if have := int64(s.end - s.pos); n <= have {
			s.pos += int(n)
			return nil
		} else {
			n -= have
			s.pos = s.end
		}
		// Skip may go past the end of the input. The next read detects that.
		if r, ok := s.r.(Skipper); ok && n > int64(len(s.buf)) && s.err == nil && s.to == nil {
			if err := r.Skip(n); err != nil {
				return err
			}
			s.base += n
			return nil
		}
		if err := s.need(1); err != nil {
			return err
		}
	}
}
