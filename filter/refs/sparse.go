package refs

import (
	"fmt"
	"io"
)

// A SparseReader is a reader of a file that may have holes: zeros that take no space on disk. A Scanner skips them.
type SparseReader interface {
	io.Reader
	// Hole returns the length in bytes of the hole at the current position, or 0.
	Hole() (int64, error)
	// Skip skips n bytes of a hole.
	Skip(n int64) error
}

const (
	// minHole is the minimum size in bytes of a hole that is skipped.
	minHole = 64 << 10
	// maxUnpackedHoles is the maximum number of bytes in holes that are passed to the Unpacker, for all files together.
	maxUnpackedHoles = 1 << 30
)

// A source is a reader of contents.
type source struct {
	r      io.Reader
	sparse SparseReader // r, or nil
	zeros  int          // number of zeros that replace a hole in the buffer: more than a reference is long
	unread int64        // bytes of a hole that are read instead of skipped
}

// fill reads into buf[n:] until it is full, a hole was skipped or r fails. It returns the number of filled bytes, and
// the number of zeros after them that are not in buf.
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
				return n, 0, nil // the next call has more room
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

// wants reports whether the current file is being unpacked, so that it needs the zeros of a hole of n bytes. If the
// limit for holes is exceeded, wants ends the unpacking.
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
