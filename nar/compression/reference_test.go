package compression_test

import (
	"bytes"
	"compress/gzip"
	"io"

	"github.com/ulikunitz/xz"

	"narseal/nar/compression"
)

// reference decompresses c with an implementation that Decompress does not use. It returns false if there is none, or
// if that one lacks a feature.
func reference(format compression.Type, c []byte) ([]byte, bool) {
	var r io.Reader
	var err error
	switch format {
	case compression.Gzip:
		r, err = gzip.NewReader(bytes.NewReader(c))
	case compression.Xz: // without filters other than LZMA2
		r, err = xz.NewReader(bytes.NewReader(c))
	default:
		return nil, false
	}
	if err != nil {
		return nil, false
	}
	b, err := io.ReadAll(r)
	return b, err == nil
}
