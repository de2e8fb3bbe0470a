package compression

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/gzip"
)

// gzipReader reads the members of a gzip file in order. The library can do this, too, but treats a truncated header of
// a later member as the end of the file.
type gzipReader struct {
	member *gzip.Reader
	in     *bufio.Reader
}

func newGzipReader(in *bufio.Reader) (*gzipReader, error) {
	member, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	member.Multistream(false)
	return &gzipReader{member, in}, nil
}

func (g *gzipReader) Read(p []byte) (int, error) {
	for {
		n, err := g.member.Read(p)
		if n > 0 || err != io.EOF {
			if err == io.EOF {
				err = nil // the next Read returns it again
			}
			return n, err
		}
		if _, err := g.in.Peek(1); err != nil {
			return 0, err
		}
		if err := g.member.Reset(g.in); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		g.member.Multistream(false)
	}
}
