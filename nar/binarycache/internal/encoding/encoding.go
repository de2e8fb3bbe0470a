// Package encoding compresses and decompresses objects by their Content-Encoding.
package encoding

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"golang.org/x/sync/semaphore"

	"narseal/nar/compression"
)

// Header is the attribute with the compression of an object.
const Header = "Content-Encoding"

// CheckNone returns an error if a client would decode a NAR because of this header, before it decompresses the NAR
// according to its narinfo.
func CheckNone(header string) error {
	switch strings.ToLower(header) {
	case "", "identity", "aws-chunked": // aws-chunked describes only the upload
		return nil
	}
	return fmt.Errorf("it has a %s, which Nix would decode: a NAR may be compressed only as its narinfo says", Header)
}

// An Encoding is the compression of a narinfo or a listing in the store. A client that reads the object over HTTP
// decompresses it according to the attribute or to the magic number.
type Encoding string

// Brotli has no magic number. Other encodings have the names of package compression.
const (
	Plain  Encoding = ""
	Brotli Encoding = "br"
)

const (
	// maxMemory is the maximum memory for decompressing one object, in bytes. xz -6 and zstd -19 need less. Narinfos
	// are small, but a cache may have any number of them that request windows of 128 MiB.
	maxMemory = 16 << 20
	little    = 1 << 20 // up to this size, memory is not counted
	// allMemory is the maximum memory for all objects that are decompressed at the same time.
	allMemory = 32 << 20
)

var memory = semaphore.NewWeighted(allMemory)

// limited is a reader that returns its memory when it is closed.
type limited struct {
	io.ReadCloser
	taken int64
}

func (l *limited) Close() error {
	err := l.ReadCloser.Close()
	memory.Release(l.taken)
	l.taken = 0
	return err
}

// NewReader returns a reader that decompresses an object of at most size bytes. header is the object's
// Content-Encoding. NewReader waits while other readers use too much memory. Closing the reader does not close r.
func NewReader(r io.Reader, header string, size int64) (io.ReadCloser, Encoding, error) {
	switch lower := strings.ToLower(strings.TrimSpace(header)); lower {
	case "", "identity", "zstd", "gzip", "x-gzip", "xz", "bzip2":
		// The magic number decides, since a proxy may have decompressed the object and left the header.
		var taken int64
		dec, c, err := compression.DecompressWith(r, size, func(n int64) error {
			if n > maxMemory {
				return fmt.Errorf("%w: it takes %d bytes of memory, more than %d", compression.ErrMemory, n, maxMemory)
			}
			if n <= little {
				return nil
			}
			taken = n
			return memory.Acquire(context.Background(), n) // other readers return their memory soon
		})
		if err != nil {
			memory.Release(taken)
			return nil, Plain, err
		}
		if c == compression.None {
			c = compression.Type(Plain)
		}
		return &limited{dec, taken}, Encoding(c), nil
	case "br", "brotli":
		return io.NopCloser(&brotliReader{r: brotli.NewReader(r)}), Brotli, nil
	default:
		return nil, "", fmt.Errorf("%s: %q is not supported, want zstd, gzip, br, xz or bzip2", Header, lower[:min(len(lower), 40)])
	}
}

// Decode decompresses an object in memory, to at most limit bytes. header is its Content-Encoding.
func Decode(b []byte, header string, limit int64) ([]byte, Encoding, error) {
	if header == "" && compression.Detect(b) == compression.None {
		return b, Plain, nil
	}
	dec, e, err := NewReader(bytes.NewReader(b), header, limit)
	if err != nil {
		return nil, e, err
	}
	if e == Plain {
		return b, e, dec.Close()
	}
	text, err := ReadText(dec, -1, limit)
	return text, e, errors.Join(err, dec.Close())
}

// maxHint is how much memory is allocated for a stated size before the bytes arrive.
const maxHint = 16 << 10

// ReadText reads a small object whose size is stated as size, or -1 if it is not.
func ReadText(r io.Reader, size, limit int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), maxHint)) + bytes.MinRead)
	_, err := b.ReadFrom(io.LimitReader(r, limit+1))
	if err == nil && int64(b.Len()) > limit {
		err = fmt.Errorf("too long: more than %d bytes", limit)
	}
	return b.Bytes(), err
}

// A brotliReader adds context to errors, and returns io.ErrUnexpectedEOF for a truncated stream.
type brotliReader struct{ r *brotli.Reader }

func (b *brotliReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("brotli: %w", err)
	}
	return n, err
}

// Encode compresses a text.
func (e Encoding) Encode(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := e.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// NewWriter returns a writer that compresses to w. It uses a small window and small tables, since the objects are
// small.
func (e Encoding) NewWriter(w io.Writer) (io.WriteCloser, error) {
	o := compression.Options{Workers: 1}
	switch c := compression.Type(e); c {
	case compression.Type(Plain):
		return compression.Compress(w, compression.None, o)
	case compression.Type(Brotli):
		return brotli.NewWriterLevel(w, brotli.DefaultCompression), nil
	case compression.Zstd, compression.Xz:
		o.Level = 1
	}
	return compression.Compress(w, compression.Type(e), o)
}

// ReadOnly reports whether there is no compressor for the encoding.
func (e Encoding) ReadOnly() bool { return compression.Type(e).ReadOnly() }
