package binarycache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"narseal/nar/binarycache/internal/encoding"
)

// decodeReader decompresses the object o of a store, of at most limit bytes. Closing the reader does not close r.
func decodeReader(r io.Reader, o Object, limit int64) (io.ReadCloser, encoding.Encoding, error) {
	dec, e, err := encoding.NewReader(r, o.Attributes[encoding.Header], limit)
	if err != nil {
		err = fmt.Errorf("%s: %w", o.Name, err)
	}
	return dec, e, err
}

// putText writes a text as an object with the attributes of o and the encoding e. If the store cannot keep the
// encoding, or there is no compressor for it, the text is written uncompressed.
func putText(ctx context.Context, s Store, o Object, text []byte, e encoding.Encoding, c Condition) (Version, error) {
	put := func(b []byte) (Version, error) {
		o.Size = int64(len(b))
		return s.Put(ctx, o, bytes.NewReader(b), c)
	}
	if e != encoding.Plain && !e.ReadOnly() {
		b, err := e.Encode(text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", o.Name, err)
		}
		v, err := put(b)
		if o.Attributes[encoding.Header] == "" || !errors.Is(err, errors.ErrUnsupported) {
			return v, err
		}
	}
	o.Attributes = without(o.Attributes, encoding.Header)
	return put(text)
}
