package refs

import (
	"fmt"
	"io"
)

// A SparseReader is a reader of a file that may have holes, which are zeros that take no room on the disk. A Scanner
// skips them.
type SparseReader interface {
	io.Reader
	// Hole returns the length in bytes of the hole that is to be read next, or 0.
	Hole() (int64, error)
	// Skip passes over n bytes of a hole.
	Skip(n int64) error
}

const (
	// minHole is the size in bytes from which on a hole is skipped.
	minHole = 64 << 10
	// maxUnpackedHoles bounds the holes that are passed to the Unpacker, of all files together, in bytes.
	maxUnpackedHoles = 1 << 30
)

// A source is what contents are read from.
type source struct {
	r      io.Reader
	sparse SparseReader // r, or nil
	zeros  int          // that are put into the buffer in place of a hole: more than a reference has
	unread int64        // of a hole that is read all the same
}

// fill reads into buf[n:] until it is full, a hole was skipped or r fails. It returns how many bytes of buf are filled,
// and how many zeros follow that are not in it.
func (s *Scanner) fill(f *source, buf []byte, n int) (filled int, gap int64, err error) {
	for n < len(buf) && err == nil {
		if f.sparse != nil && f.unread <= 0 {
			hole, err := f.sparse.Hole()
			if err != nil {
				return n, 0, err
			}
			switch {
			case hole < minHole:
			case s.unpacker != nil && s.unpacker.wants(hole):
				f.unread = hole
			case n+f.zeros > len(buf):
				return n, 0, nil // there is room the next time
			default:
				clear(buf[n : n+f.zeros])
				return n + f.zeros, hole - int64(f.zeros), f.sparse.Skip(hole)
			}
		}
		var m int
		m, err = f.r.Read(buf[n:])
		n += m
		f.unread -= int64(m)
	}
	return n, 0, err
}

// wants reports whether the current file is being unpacked, so that it needs the zeros of a hole of n bytes. Past the
// limit, it ends.
func (u *Unpacker) wants(n int64) bool {
	if u.next == nil {
		return false
	}
	if u.holes += n; u.holes <= maxUnpackedHoles {
		return true
	}
	u.warn(layer{}, limitError(fmt.Sprintf("holes of more than %d bytes, together with other files", int64(maxUnpackedHoles))))
	u.Close()
	return false
}
