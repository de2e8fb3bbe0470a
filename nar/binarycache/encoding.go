package binarycache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/andybalholm/brotli"

	"narseal/nar/compression"
)

// contentEncoding is the attribute that says how an object is compressed.
const contentEncoding = "Content-Encoding"

// An encoding is how a narinfo or a listing is compressed in the store. A client that reads it over HTTP decompresses it
// by the attribute, or by the magic number.
type encoding string

// Brotli has no magic number. The others are as package compression calls them.
const (
	plain    encoding = ""
	brotliEn encoding = "br"
)

// decodeReader decompresses what a store has as o. Closing the reader does not close r.
func decodeReader(r io.Reader, o Object) (io.ReadCloser, encoding, error) {
	switch header := strings.ToLower(strings.TrimSpace(o.Attributes[contentEncoding])); header {
	case "", "identity", "zstd", "gzip", "x-gzip", "xz", "bzip2":
		// The magic number is what counts: a proxy may have decompressed it, and left the header.
		dec, c, err := compression.Decompress(r)
		if err != nil || c == compression.None {
			return dec, plain, err
		}
		return dec, encoding(c), nil
	case "br", "brotli":
		return io.NopCloser(&brotliReader{r: brotli.NewReader(r)}), brotliEn, nil
	default:
		return nil, "", fmt.Errorf("%s: %s: %q is not supported, want zstd, gzip, br, xz or bzip2", o.Name, contentEncoding, header[:min(len(header), 40)])
	}
}

// A brotliReader says of what its errors are, and that an end in the middle is none.
type brotliReader struct{ r *brotli.Reader }

func (b *brotliReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("brotli: %w", err)
	}
	return n, err
}

// decodeObject decompresses an object that was read, to limit bytes at most.
func decodeObject(b []byte, o Object, limit int64) ([]byte, encoding, error) {
	if o.Attributes[contentEncoding] == "" && compression.Detect(b) == compression.None {
		return b, plain, nil
	}
	dec, e, err := decodeReader(bytes.NewReader(b), o)
	if err == nil && e == plain {
		return b, plain, dec.Close()
	}
	if err != nil {
		return nil, e, err
	}
	text, err := readAll(dec, limit)
	return text, e, errors.Join(err, dec.Close())
}

// encode compresses a text.
func (e encoding) encode(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := e.writer(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// writer compresses to w. What is compressed is small, and so are the window and the tables.
func (e encoding) writer(w io.Writer) (io.WriteCloser, error) {
	o := compression.Options{Workers: 1}
	switch c := compression.Type(e); c {
	case compression.Type(plain):
		return compression.Compress(w, compression.None, o)
	case compression.Type(brotliEn):
		return brotli.NewWriterLevel(w, brotli.DefaultCompression), nil
	case compression.Zstd, compression.Xz:
		o.Level = 1
	}
	return compression.Compress(w, compression.Type(e), o)
}

// putText writes a text in place of one that had the attributes of o and the encoding. If the store cannot keep that, or
// there is no compressor for it, the text is written as it is.
func putText(ctx context.Context, s Store, o Object, text []byte, e encoding, c Condition) (Version, error) {
	put := func(b []byte) (Version, error) {
		o.Size = int64(len(b))
		return s.Put(ctx, o, bytes.NewReader(b), c)
	}
	if compression.Type(e).ReadOnly() {
		e = plain
	}
	if e != plain {
		b, err := e.encode(text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", o.Name, err)
		}
		v, err := put(b)
		if o.Attributes[contentEncoding] == "" || !errors.Is(err, errors.ErrUnsupported) {
			return v, err
		}
	}
	o.Attributes = maps.Clone(o.Attributes)
	delete(o.Attributes, contentEncoding)
	return put(text)
}
