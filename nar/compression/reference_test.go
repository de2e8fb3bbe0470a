package compression_test

import (
	"bytes"
	"compress/gzip"
	"io"

	"github.com/ulikunitz/xz"

	"narseal/nar/compression"
)

// reference decompresses c by an implementation that Decompress does not use. It
// gives none where there is none, or where that one lacks a feature.
func reference(format compression.Type, c []byte) ([]byte, bool) {
	var r io.Reader
	var err error
	switch format {
	case compression.Gzip:
		r, err = gzip.NewReader(bytes.NewReader(c))
	case compression.Xz: // without the filters beside LZMA2
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
