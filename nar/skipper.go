package nar

import "io"

// A Skipper is an input that can advance without being read, such as a file. A Reader uses it for contents that its
// caller does not read.
type Skipper interface {
	// Skip advances by n bytes. It may go past the end of the input, where the next Read then returns io.EOF.
	Skip(n int64) error
}

// A SectionReader is an io.SectionReader that is also a Skipper, for example a part of a file.
type SectionReader struct{ *io.SectionReader }

// NewSectionReader returns a SectionReader for the n bytes of r from off on.
func NewSectionReader(r io.ReaderAt, off, n int64) SectionReader {
	return SectionReader{io.NewSectionReader(r, off, n)}
}

// Skip advances by n bytes.
func (s SectionReader) Skip(n int64) error {
	_, err := s.Seek(n, io.SeekCurrent)
	return err
}
