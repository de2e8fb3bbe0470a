// Package stream provides readers for the objects of a cache that limit, measure, count, and end with the run.
package stream

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"

	"narseal/nar/binarycache/narinfo"
)

// A Meter computes the size and SHA-256 of the data written to it.
type Meter struct {
	n    int64
	hash hash.Hash
}

// NewMeter returns an empty Meter.
func NewMeter() *Meter { return &Meter{hash: sha256.New()} }

func (m *Meter) Write(p []byte) (int, error) {
	m.n += int64(len(p))
	return m.hash.Write(p)
}

// N returns the number of bytes so far.
func (m *Meter) N() int64 { return m.n }

// Sum returns the size and hash of the data so far.
func (m *Meter) Sum() narinfo.Sum {
	s := narinfo.Sum{Size: m.n}
	m.hash.Sum(s.Hash[:0])
	return s
}

// Bound returns a reader of r that returns tooLong if there are more than limit bytes.
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

// A Counter counts the bytes that are read from R.
type Counter struct {
	R io.Reader
	n int64
}

func (c *Counter) Read(p []byte) (int, error) {
	n, err := c.R.Read(p)
	c.n += int64(n)
	return n, err
}

// BoundRatio returns a reader of r, which decompresses packed. It returns an error if there are more than free bytes
// and more than ratio bytes for each byte of packed.
func BoundRatio(r io.Reader, packed *Counter, free, ratio int64) io.Reader {
	return &ratioReader{r, packed, free, ratio, 0}
}

type ratioReader struct {
	r           io.Reader
	packed      *Counter
	free, ratio int64
	n           int64
}

func (b *ratioReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.n += int64(n); b.n > b.free && b.n/b.ratio > b.packed.n {
		return 0, fmt.Errorf("expands more than %d:1", b.ratio)
	}
	return n, err
}

// A SameContent is a reader that returns an error instead of io.EOF if its data differs from an earlier read.
type SameContent struct {
	Err error // read error, to tell it from an error of the store that is written to

	ctx     context.Context
	file    *io.SectionReader
	want    narinfo.Sum
	meter   *Meter
	changed error
}

// Same returns a SameContent of at, whose data had the sum want before. changed is the error for other data.
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

// Seek supports only seeking to the start, since the data can only be checked as a whole.
func (c *SameContent) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, errors.New("seek: only to the start")
	}
	c.meter = NewMeter()
	return c.file.Seek(0, io.SeekStart)
}

// BoundWriter returns a writer to w that returns tooLong if more than limit bytes are written.
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

// WithContext returns a reader of r that returns the error of ctx when ctx ends.
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

// Count returns a reader of body that calls count with the number of bytes read, but counts each of its size bytes only
// once.
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

// countedBodyAt is a countedBody that can also be read at any offset, for uploads in parts.
type countedBodyAt struct {
	*countedBody
	at io.ReaderAt
}

func (c *countedBodyAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.at.ReadAt(b, off)
	c.add(n)
	return n, err
}
