package nar

import (
	"errors"
	"io"
)

// bufferSize is how far a Reader reads ahead and a Writer writes behind. It
// fits the second-level cache, and is a quarter of the largest pipe that
// Linux gives to everyone.
const bufferSize = 256 << 10

// source is a buffered input in which what was read but not yet taken stays
// in place, so that callers may look at it, and change it, without a copy.
type source struct {
	r        io.Reader
	size     int // of the buffer, once there is one
	buf      []byte
	pos, end int   // buf[pos:end] is read and not taken
	base     int64 // offset in the stream of buf[0]
	err      error // of r, kept until the buffer is used up
}

func newSource(r io.Reader) *source { return &source{r: r, size: bufferSize} }

// offset is the place in the stream of the first byte not taken.
func (s *source) offset() int64 { return s.base + int64(s.pos) }

// need makes at least n bytes available at buf[pos:end]. At the end of the
// input it fails with io.EOF, and fewer are there.
func (s *source) need(n int) error {
	if s.end-s.pos >= n {
		return nil
	}
	return s.fill(n)
}

func (s *source) fill(n int) error {
	if s.buf == nil {
		s.buf = make([]byte, s.size)
	}
	// What is left is short (a field, or what a matcher holds back), and
	// reading into all the rest keeps the reads large.
	if s.pos > 0 {
		copy(s.buf, s.buf[s.pos:s.end])
		s.base += int64(s.pos)
		s.end -= s.pos
		s.pos = 0
	}
	if n > len(s.buf) {
		return errors.New("nar: internal error: a look ahead beyond the buffer")
	}
	for idle := 0; s.end < n; {
		if s.err != nil {
			return s.err
		}
		m, err := s.r.Read(s.buf[s.end:])
		if m < 0 || m > len(s.buf)-s.end {
			s.err = errors.New("nar: the input's Read returned an impossible count")
			return s.err
		}
		s.end += m
		s.err = err
		if m > 0 {
			idle = 0
		} else if idle++; err == nil && idle == 100 {
			s.err = io.ErrNoProgress
		}
	}
	return nil
}

// skip takes n bytes, which may be more than the buffer holds.
func (s *source) skip(n int64) error {
	for {
		if have := int64(s.end - s.pos); n <= have {
			s.pos += int(n)
			return nil
		} else {
			n -= have
			s.pos = s.end
		}
		// What is passed over is not known to exist, but what follows is read.
		if r, ok := s.r.(interface{ Skip(n int64) error }); ok && n > int64(len(s.buf)) && s.err == nil {
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
