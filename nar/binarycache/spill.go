package binarycache

import (
	"errors"
	"io"
)

// spillMemory is the number of bytes up to which a spill stays in memory, for each path that is worked on.
const spillMemory = 4 << 20

// A spill keeps what is written to it, in memory up to spillMemory bytes and then in a TempFile, and can be read at any
// place. Its zero value keeps everything in memory.
type spill struct {
	open func() (TempFile, error) // nil: memory only
	mem  []byte
	file TempFile
	size int64
}

func (s *spill) Write(p []byte) (int, error) {
	if s.file == nil && s.open != nil && s.size+int64(len(p)) > spillMemory {
		f, err := s.open()
		if err != nil {
			return 0, &tempError{err}
		}
		s.file = f
		if _, err := f.WriteAt(s.mem, 0); err != nil {
			return 0, &tempError{err}
		}
		s.mem = nil
	}
	if s.file != nil {
		if n, err := s.file.WriteAt(p, s.size); err != nil {
			return n, &tempError{err}
		}
	} else {
		s.mem = append(s.mem, p...)
	}
	s.size += int64(len(p))
	return len(p), nil
}

func (s *spill) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		n, err := s.file.ReadAt(p, off)
		if err != nil && err != io.EOF {
			err = &tempError{err}
		}
		return n, err
	}
	if off < 0 || off > int64(len(s.mem)) {
		return 0, errors.New("read outside of what was spilled")
	}
	n := copy(p, s.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// reset forgets what was written.
func (s *spill) reset() {
	s.Close()
	s.mem, s.size = s.mem[:0], 0
}

// Close frees the file. The spill can be written again.
func (s *spill) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file, s.size = nil, 0
	return err
}

// A tempError is an error of a TempFile.
type tempError struct{ err error }

func (e *tempError) Error() string { return "temporary file: " + e.err.Error() }
func (e *tempError) Unwrap() error { return e.err }
