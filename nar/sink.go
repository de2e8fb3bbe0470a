package nar

import (
	"encoding/binary"
	"fmt"
	"io"
)

// sink is a buffered output.
type sink struct {
	w    io.Writer
	size int // of the buffer, once there is one
	buf  []byte
	off  int64 // bytes written to w
}

func newSink(w io.Writer) *sink { return &sink{w: w, size: bufferSize} }

// offset returns the number of bytes written, including those in the buffer.
func (s *sink) offset() int64 { return s.off + int64(len(s.buf)) }

// reserve makes sure that n more bytes fit into the buffer. n is at most the buffer's size.
func (s *sink) reserve(n int) error {
	if cap(s.buf)-len(s.buf) >= n {
		return nil
	}
	if s.buf == nil {
		s.buf = make([]byte, 0, s.size)
		return nil
	}
	return s.flush()
}

// The caller of these methods must have reserved the bytes that they add.

func (s *sink) add(b []byte) { s.buf = append(s.buf, b...) }

func (s *sink) number(n uint64) { s.buf = binary.LittleEndian.AppendUint64(s.buf, n) }

func (s *sink) zeros(n int) { s.buf = append(s.buf, zeros[:n]...) }

func (s *sink) str(b []byte) {
	s.number(uint64(len(b)))
	s.add(b)
	s.zeros(padding(int64(len(b))))
}

var zeros [7]byte

// contents writes p, of any length. From 64 KiB on it bypasses the buffer; below that, a copy is cheaper than a system
// call.
func (s *sink) contents(p []byte) error {
	if len(p) >= s.size/4 {
		if err := s.flush(); err != nil {
			return err
		}
		return s.output(p)
	}
	if err := s.reserve(len(p)); err != nil {
		return err
	}
	s.add(p)
	return nil
}

// flush writes the buffer to the output.
func (s *sink) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	err := s.output(s.buf)
	s.buf = s.buf[:0]
	return err
}

func (s *sink) output(p []byte) error {
	n, err := s.w.Write(p)
	if n < 0 || n > len(p) {
		return fmt.Errorf("nar: write: offset %d: the output's Write returned an impossible count", s.off)
	}
	s.off += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("nar: write: offset %d: %w", s.off, err)
	}
	return nil
}
