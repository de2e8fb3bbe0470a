package macho

import (
	"fmt"
	"io"
)

// Image is random access to a file that may be a Mach-O image. Size is the
// number of bytes in the file; neither reads nor writes go past it. ReadAt and
// WriteAt may be called from several goroutines at once, as io.ReaderAt and
// io.WriterAt ask; the writes of one call of this package never overlap each
// other nor what it reads meanwhile.
type Image interface {
	io.ReaderAt
	io.WriterAt
	Size() int64
}

// Viewer is an Image that can show its bytes where they are, such as a file that
// is mapped into memory. The pages of a large image are then hashed without a
// copy, which would cost a good part of the time that hashing does.
type Viewer interface {
	Image
	// View calls look with the n bytes at off, in [0, Size), and returns look's
	// error or its own. look neither changes nor keeps them. They are what
	// ReadAt would read, bytes written before included. An image that has nothing
	// to show says errors.ErrUnsupported instead of calling look, and is read.
	// View may be called from several goroutines at once.
	View(off, n int64, look func([]byte) error) error
}

// Bytes is an Image in memory. This package works on the slice itself, without
// copying.
type Bytes []byte

// Size returns the length of b.
func (b Bytes) Size() int64 { return int64(len(b)) }

// ReadAt implements io.ReaderAt.
func (b Bytes) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("macho: read at offset %d", off)
	}
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt. It never grows b: what does not fit is not
// written and is an error.
func (b Bytes) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) {
		return 0, fmt.Errorf("macho: write at offset %d of %d bytes", off, len(b))
	}
	n := copy(b[off:], p)
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// Range is a run of bytes of an image: Len bytes from Off, counted from the
// start of the image.
type Range struct{ Off, Len int64 }

func (r Range) end() int64 { return r.Off + r.Len }

// intersects tells whether r and [from, to) share a byte.
func (r Range) intersects(from, to int64) bool {
	return r.Off < to && from < r.end() && r.Len > 0 && from < to
}

// source is what headers are parsed from: a whole image, or the first bytes of
// one that is still coming in.
type source interface {
	// at returns the n bytes from off. They are valid until the next call. n is
	// at most windowSize. Outside [0, size) it fails with errOutside.
	at(off int64, n int) ([]byte, error)
	size() int64
}

// errOutside is what a source says of bytes past its end.
var errOutside = fmt.Errorf("macho: %w", io.ErrUnexpectedEOF)

// window is an image read through one buffer, or directly when it is in memory.
type window struct {
	image Image
	buf   []byte
	off   int64 // of buf in the image
}

const windowSize = 32 << 10

func (w *window) size() int64 { return w.image.Size() }

func (w *window) at(off int64, n int) ([]byte, error) {
	if off < 0 || off > w.image.Size()-int64(n) {
		return nil, errOutside
	}
	if b, ok := w.image.(Bytes); ok {
		return b[off : off+int64(n)], nil
	}
	if off < w.off || off+int64(n) > w.off+int64(len(w.buf)) {
		want := min(windowSize, w.image.Size()-off)
		if int64(cap(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		w.off, w.buf = off, w.buf[:want]
		if err := readFull(w.image, w.buf, off); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	i := off - w.off
	return w.buf[i : i+int64(n)], nil
}

// readFull reads exactly len(p) bytes at off.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("macho: read %d bytes at offset %d: %w", len(p), off, err)
}

// writeFull writes exactly len(p) bytes at off.
func writeFull(w io.WriterAt, p []byte, off int64) error {
	n, err := w.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("macho: write %d bytes at offset %d: %w", len(p), off, err)
	}
	return nil
}
