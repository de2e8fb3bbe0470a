// Package stream has the readers of a cache's objects: bounded, measured, counted, and stopped when a run is.
package stream

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync/atomic"

	"narseal/nar/binarycache/narinfo"
)

// A Meter takes the size and SHA-256 of what passes.
type Meter struct {
	n    int64
	hash hash.Hash
}

// NewMeter returns a Meter of nothing.
func NewMeter() *Meter { return &Meter{hash: sha256.New()} }

func (m *Meter) Write(p []byte) (int, error) {
	m.n += int64(len(p))
	return m.hash.Write(p)
}

// N is the number of bytes so far.
func (m *Meter) N() int64 { return m.n }

// Sum is what has passed so far.
func (m *Meter) Sum() narinfo.Sum {
	s := narinfo.Sum{Size: m.n}
	m.hash.Sum(s.Hash[:0])
	return s
}

// Bound returns a reader of r that returns tooLong where there is more than limit bytes.
func Bound(r io.Reader, limit int64, tooLong error) io.Reader {
	return &boundedReader{r, limit, tooLong}
}

type boundedReader struct {
	r       io.Reader
	left    int64
	tooLong error
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, b.tooLong
	}
	return n, err
}

// A SameContent is an error, instead of io.EOF, unless it is read as what it was before.
type SameContent struct {
	Err error // of reading, as opposed to one of the store that it is written to

	ctx     context.Context
	file    *io.SectionReader
	want    narinfo.Sum
	meter   *Meter
	changed error
}

// Same returns a SameContent of what was want before. Its error for other contents is changed.
func Same(ctx context.Context, at io.ReaderAt, want narinfo.Sum, changed error) *SameContent {
	return &SameContent{ctx: ctx, file: io.NewSectionReader(at, 0, want.Size), want: want, meter: NewMeter(), changed: changed}
}

// Read reads, and ends with the run.

func (c *SameContent) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	c.meter.Write(p[:n])
	switch {
	case c.ctx.Err() != nil:
		err = c.ctx.Err()
	case err == io.EOF && c.meter.n < c.want.Size,
		c.meter.n == c.want.Size && c.meter.Sum() != c.want:
		err = c.changed
	}
	if err != nil && err != io.EOF {
		c.Err = err
		return 0, err
	}
	return n, err
}

// Seek goes back to the start only: in between, nothing can be said of the contents.
func (c *SameContent) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, errors.New("seek: only to the start")
	}
	c.meter = NewMeter()
	return c.file.Seek(0, io.SeekStart)
}

// BoundWriter returns a writer to w that returns tooLong where more than limit bytes are written.
func BoundWriter(w io.Writer, limit int64, tooLong error) io.Writer {
	return &boundedWriter{w, limit, tooLong}
}

type boundedWriter struct {
	w       io.Writer
	left    int64
	tooLong error
}

func (b *boundedWriter) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, b.tooLong
	}
	return b.w.Write(p)
}

// WithContext returns a reader of r that stops when its context does.
func WithContext(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// Count counts what is read of a body of size bytes, once, however often it is read.
func Count(body io.ReadSeeker, size int64, count func(int)) io.ReadSeeker {
	c := &countedBody{ReadSeeker: body, count: count}
	c.left.Store(size)
	if at, ok := body.(io.ReaderAt); ok {
		return &countedBodyAt{c, at}
	}
	return c
}

type countedBody struct {
	io.ReadSeeker
	count func(int)
	left  atomic.Int64
}

func (c *countedBody) add(n int) {
	if n = int(min(int64(n), c.left.Add(int64(-n))+int64(n))); n > 0 {
		c.count(n)
	}
}

func (c *countedBody) Read(b []byte) (int, error) {
	n, err := c.ReadSeeker.Read(b)
	c.add(n)
	return n, err
}

// countedBodyAt is of a body that is read at any place, as in parts.
type countedBodyAt struct {
	*countedBody
	at io.ReaderAt
}

func (c *countedBodyAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.at.ReadAt(b, off)
	c.add(n)
	return n, err
}
