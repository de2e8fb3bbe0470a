package macho

import (
	"errors"
	"fmt"
	"io"
)

// Image provides random access to a file that may be a Mach-O image. Size is its length in bytes; this package neither
// reads nor writes past it. Calls of ReadAt and WriteAt may be concurrent, as io.ReaderAt and io.WriterAt require. The
// writes of one call of this package overlap neither each other nor what it reads meanwhile.
type Image interface {
	io.ReaderAt
	io.WriterAt
	Size() int64
}

// Viewer is an Image that can show its bytes in place, such as a file that is mapped into memory. The pages of a large
// image are then hashed without a copy: copying takes a good part of the time that hashing takes.
type Viewer interface {
	Image
	// View calls look with the n bytes at off, which lie within the image, and returns look's error or its own. The
	// bytes are what ReadAt would read, including what has been written. look neither changes nor keeps them. If the
	// image cannot show them, View returns errors.ErrUnsupported without calling look, and ReadAt is used instead. Calls
	// may be concurrent.
	View(off, n int64, look func([]byte) error) error
}

// Bytes is an Image in memory. This package works on the slice itself, without copying it.
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

// WriteAt implements io.WriterAt. It never grows b: it writes the bytes that fit, and returns an error if there are
// more.
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

// Range is Len bytes of an image from offset Off, which counts from the start of the image.
type Range struct{ Off, Len int64 }

func (r Range) end() int64 { return r.Off + r.Len }

// intersects reports whether r and [from, to) share a byte.
func (r Range) intersects(from, to int64) bool {
	return r.Off < to && from < r.end() && r.Len > 0 && from < to
}

// source provides the bytes of headers: of a whole image, or of the first part of one that is still arriving.
type source interface {
	// at returns the n bytes at off, which are valid until the next call. n is at most windowSize. It returns errOutside
	// for bytes outside [0, size), and errBudget when the budget is spent.
	at(off int64, n int) ([]byte, error)
	size() int64
}

var (
	// errOutside is the error of a source for bytes past its end.
	errOutside = fmt.Errorf("macho: %w", io.ErrUnexpectedEOF)
	errBudget  = errors.New("macho: the read budget for headers is used up")
)

// budget returns how many bytes of headers may be parsed in an image of size bytes: twice its size, plus 64 KiB for
// small images. A well-formed image needs far less, because it has code, and each byte of its load commands and of its
// signature is parsed about once.
func budget(size int64) int64 { return 2*size + 64<<10 }

// window reads an image through one buffer, or directly if the image is in memory. The bytes that it returns count
// against a budget.
type window struct {
	image Image
	left  int64 // of the budget
	buf   []byte
	off   int64 // of buf in the image
}

func newWindow(image Image) *window { return &window{image: image, left: budget(image.Size())} }

const windowSize = 32 << 10

func (w *window) size() int64 { return w.image.Size() }

func (w *window) at(off int64, n int) ([]byte, error) {
	if off < 0 || off > w.image.Size()-int64(n) {
		return nil, errOutside
	}
	if w.left -= int64(n); w.left < 0 {
		return nil, errBudget
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
