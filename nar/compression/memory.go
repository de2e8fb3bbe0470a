package compression

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrMemory is wrapped by the error of a stream that takes more memory than DecompressWithin allows.
var ErrMemory = errors.New("too large a window")

const (
	// freeWindow is the window or dictionary that later frames or blocks of a stream may have in any case: what zstd
	// takes at its default level.
	freeWindow = 2 << 20

	// usualWindow is what xz takes at its default level, and zstd up to level 19.
	usualWindow = 8 << 20

	// What decoders take besides the window, in bytes, measured and rounded up.
	zstdMemory  = 3 << 19
	xzMemory    = 3 << 20
	gzipMemory  = 256 << 10
	bzip2Memory = 5 << 20

	// xzFirstBlock is where the first block header of an xz stream is, after the stream header. maxXzHeader is its greatest
	// length (xz-file-format.txt 2.1.1, 3.1.1).
	xzFirstBlock = 12
	maxXzHeader  = 1024
)

// overhead returns how much memory the reader takes besides the window, in bytes.
func (d *decompressor) overhead() int64 {
	switch d.format {
	case Zstd:
		return inputBuffer + zstdMemory
	case Xz:
		return inputBuffer + xzMemory
	case Gzip:
		return inputBuffer + gzipMemory
	case Bzip2:
		return inputBuffer + bzip2Memory
	}
	return inputBuffer
}

// window returns the size of the window or dictionary that the stream may take, in bytes.
func (d *decompressor) window() (int64, error) {
	switch d.format {
	case Zstd:
		return d.zstdWindow()
	case Xz:
		head, err := d.peek(xzFirstBlock + maxXzHeader)
		window := xzDictionary(head)
		if bits, ok := xzDictionaryBits(d.size); ok {
			window = min(window, dictionarySize(bits))
		}
		return window, err
	}
	return 0, nil
}

// largestWindow returns the size of the largest window or dictionary that a stream of contents of d.size bytes takes.
func (d *decompressor) largestWindow() int64 {
	if d.size < 0 {
		return maxZstdWindow
	}
	if bits, ok := xzDictionaryBits(d.size); ok && d.format == Xz {
		return dictionarySize(bits)
	}
	return int64(windowSize(leastWindow(uint64(d.size))))
}

// peek returns the next n bytes, or fewer at the end of the input.
func (d *decompressor) peek(n int) ([]byte, error) {
	head, err := d.buffered.Peek(n)
	if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
		if d.src.err != nil {
			return nil, d.src.err
		}
		return nil, err
	}
	return head, nil
}

// zstdWindow returns the window of the first frame that is not skippable. A damaged header has none.
func (d *decompressor) zstdWindow() (int64, error) {
	for at := int64(0); at+zstd.HeaderMaxSize <= inputBuffer; {
		head, err := d.peek(int(at) + zstd.HeaderMaxSize)
		if err != nil {
			return 0, err
		}
		var h zstd.Header
		if at > int64(len(head)) || h.Decode(head[at:]) != nil {
			return freeWindow, nil
		}
		if h.Skippable {
			at += int64(h.HeaderSize) + int64(h.SkippableSize)
			continue
		}
		window := h.WindowSize
		if h.SingleSegment {
			window = h.FrameContentSize
		}
		if d.size >= 0 && h.HasFCS && h.FrameContentSize > uint64(d.size) {
			return 0, d.wrap(fmt.Errorf("a frame of %d bytes, want at most %d", h.FrameContentSize, d.size))
		}
		return int64(max(freeWindow, min(window, maxZstdWindow))), nil
	}
	return maxZstdWindow, nil // the frame is too far away
}

// xzDictionary returns the LZMA2 dictionary of the first block of a stream that begins with head. A damaged header has
// none.
func xzDictionary(head []byte) int64 { return xzBlockDictionary(head[min(xzFirstBlock, len(head)):]) }

// xzBlockDictionary is xzDictionary for what begins with the block.
func xzBlockDictionary(head []byte) int64 {
	at := lzma2At(head)
	if at < 0 {
		return freeWindow
	}
	return max(freeWindow, min(dictionarySize(head[at]), maxXzDictionary))
}

// lzma2At returns where the header of a block says how large the dictionary of LZMA2 is, or -1 if it does not.
func lzma2At(head []byte) int {
	const hasPacked, hasUnpacked, lzma2 = 0x40, 0x80, 0x21
	if len(head) < 2 || head[0] == 0 { // an index: there is no block
		return -1
	}
	flags, b := head[1], head[2:]
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[max(n, 0):]
		return v
	}
	for _, flag := range [2]byte{hasPacked, hasUnpacked} {
		if flags&flag != 0 {
			next()
		}
	}
	for range flags&3 + 1 {
		id, size := next(), next()
		if size > uint64(len(b)) {
			break
		}
		if id == lzma2 && size == 1 {
			return len(head) - len(b)
		}
		b = b[size:]
	}
	return -1
}

// dictionarySize is the size of a dictionary by its code in the header of a block, in bytes.
func dictionarySize(bits byte) int64 {
	bits = min(bits, 40)
	return int64(2|bits&1) << (bits/2 + 11)
}

// xzDictionaryBits returns the code of the smallest dictionary for contents of so many bytes. ok is false if the size is
// negative, or no dictionary is so large.
func xzDictionaryBits(size int64) (bits byte, ok bool) {
	for size >= 0 && bits < 40 {
		if dictionarySize(bits) >= size {
			return bits, true
		}
		bits++
	}
	return 0, false
}
