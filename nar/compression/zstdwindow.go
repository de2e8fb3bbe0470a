package compression

import (
	"encoding/binary"
	"math/bits"
)

// zstdWindows lowers the windows that the frames of a stream request, in the bytes that pass through it (RFC 8878,
// 3.1.1). A window that is larger than the contents is useless, but `zstd --ultra -22 --long` requests 128 MiB even for
// an archive of 100 bytes.
type zstdWindows struct {
	most uint64 // maximum size of the contents, in bytes; at least usualWindow

	state zstdState
	field [4]byte // the bytes of the current field that have arrived
	n     int
	skip  int64 // bytes until the next field
	sum   bool  // the frame ends with a checksum
	rest  int64 // bytes of the header after the window
}

type zstdState byte

const (
	zstdMagic zstdState = iota
	zstdSkippable
	zstdDescriptor
	zstdWindow
	zstdBlock
	zstdOff // not a zstd stream; bytes pass unchanged
)

// size returns the length of the field that is read in a state, in bytes.
func (s zstdState) size() int {
	switch s {
	case zstdMagic, zstdSkippable:
		return 4
	case zstdBlock:
		return 3
	}
	return 1
}

// pass lowers windows in the next bytes of the stream, in place.
func (z *zstdWindows) pass(b []byte) {
	for len(b) > 0 {
		b = z.frame(b)
	}
}

// atFrame reports whether the next byte is the start of a frame, or follows the last frame.
func (z *zstdWindows) atFrame() bool { return z.state == zstdMagic && z.n == 0 && z.skip == 0 }

// frame lowers windows in the next bytes of the stream, up to the end of a frame, and returns the bytes after it.
func (z *zstdWindows) frame(b []byte) []byte {
	for first := true; len(b) > 0 && (first || !z.atFrame()); first = false {
		if z.state == zstdOff {
			return nil
		}
		if z.skip > 0 {
			n := min(z.skip, int64(len(b)))
			z.skip -= n
			b = b[n:]
			continue
		}
		if z.state == zstdWindow {
			b[0] = z.lower(b[0])
		}
		z.field[z.n] = b[0]
		b = b[1:]
		if z.n++; z.n == z.state.size() {
			z.n = 0
			z.next()
		}
	}
	return b
}

// next enters the next state after a field.
func (z *zstdWindows) next() {
	word := binary.LittleEndian.Uint32(z.field[:])
	switch z.state {
	case zstdMagic:
		switch {
		case word == 0xfd2fb528:
			z.state = zstdDescriptor
		case word&^15 == 0x184d2a50:
			z.state = zstdSkippable
		default:
			z.state = zstdOff
		}
	case zstdSkippable:
		z.state, z.skip = zstdMagic, int64(word)
	case zstdDescriptor:
		d := z.field[0]
		const single, checksum = 1 << 5, 1 << 2
		z.sum = d&checksum != 0
		z.rest = int64([4]byte{0, 1, 2, 4}[d&3]) + int64([4]byte{0, 2, 4, 8}[d>>6])
		if d&single == 0 {
			z.state = zstdWindow
			return
		}
		if d>>6 == 0 {
			z.rest++
		}
		z.state, z.skip = zstdBlock, z.rest
	case zstdWindow:
		z.state, z.skip = zstdBlock, z.rest
	case zstdBlock:
		word &= 1<<24 - 1
		last, kind := word&1, word>>1&3
		const rle, reserved = 1, 3
		z.skip = int64(word >> 3)
		switch kind {
		case rle:
			z.skip = 1
		case reserved:
			z.state = zstdOff
		}
		if last == 1 && kind != reserved {
			if z.state = zstdMagic; z.sum {
				z.skip += 4
			}
		}
	}
}

// lower returns the descriptor d of a window, or that of the smallest window for the contents if that is smaller.
func (z *zstdWindows) lower(d byte) byte {
	if least := leastWindow(z.most); windowSize(d) > windowSize(least) {
		return least
	}
	return d
}

// windowSize returns the size of a window with this descriptor, in bytes.
func windowSize(d byte) uint64 {
	base := uint64(1) << (10 + d>>3)
	return base + base/8*uint64(d&7)
}

// leastWindow returns the descriptor of the smallest window for contents of n bytes, up to 128 MiB.
func leastWindow(n uint64) byte {
	exponent := max(bits.Len64(n-1), 11) - 1 // the largest smaller power of two
	d := byte(exponent-10) << 3
	for windowSize(d) < n {
		d++
	}
	return d
}
