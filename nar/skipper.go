package nar

import "io"

// A Skipper is an input that can pass over bytes without reading them. A Reader uses it for contents that its caller
// does not read.
type Skipper interface {
	// Skip passes over the next n bytes. It need not check that they exist: the Reader reads what follows them.
	Skip(n int64) error
}

// A SectionReader is an io.SectionReader that is a Skipper: a part of a file, say.
type SectionReader struct{ *io.SectionReader }

// NewSectionReader returns a SectionReader for the n bytes of r from off on.
func NewSectionReader(r io.ReaderAt, off, n int64) SectionReader {
	return SectionReader{io.NewSectionReader(r, off, n)}
}

// Skip passes over the next n bytes.
func (s SectionReader) Skip(n int64) error {
	_, err := s.Seek(n, io.SeekCurrent)
	return err
}
