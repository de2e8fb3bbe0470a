// Package spill stores data in memory up to a limit, and beyond that in a file that the caller opens.
package spill

import (
	"errors"
	"io"
)

// Memory is the maximum number of bytes of a Buffer in memory.
const Memory = 4 << 20

// A Buffer stores the data written to it, in memory up to Memory bytes and beyond that in a File, and can be read at
// any offset. Its zero value stores everything in memory.
type Buffer struct {
	Open func() (File, error) // nil: memory only

	mem  []byte
	file File
	size int64
}

// A File is a temporary file, usually an unnamed one.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// Size returns the number of bytes written.
func (s *Buffer) Size() int64 { return s.size }

func (s *Buffer) Write(p []byte) (int, error) {
	if s.file == nil && s.Open != nil && s.size+int64(len(p)) > Memory {
		f, err := s.Open()
		if err != nil {
			return 0, &Error{err}
		}
		s.file = f
		if _, err := f.WriteAt(s.mem, 0); err != nil {
			return 0, &Error{err}
		}
		s.mem = nil
	}
	if s.file != nil {
		if n, err := s.file.WriteAt(p, s.size); err != nil {
			return n, &Error{err}
		}
	} else {
		s.mem = append(s.mem, p...)
	}
	s.size += int64(len(p))
	return len(p), nil
}

func (s *Buffer) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		n, err := s.file.ReadAt(p, off)
		if err != nil && err != io.EOF {
			err = &Error{err}
		}
		return n, err
	}
	if off < 0 || off > int64(len(s.mem)) {
		return 0, errors.New("read outside of the spilled data")
	}
	n := copy(p, s.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Reset drops all data.
func (s *Buffer) Reset() {
	s.Close()
	s.mem, s.size = s.mem[:0], 0
}

// Close closes the file. The Buffer can be written again.
func (s *Buffer) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file, s.size = nil, 0
	return err
}

// An Error is an error of a File.
type Error struct{ err error }

func (e *Error) Error() string { return "temporary file: " + e.err.Error() }
func (e *Error) Unwrap() error { return e.err }
