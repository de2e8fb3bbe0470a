package compression

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrMemory is wrapped by the error of a stream that needs more memory than DecompressWithin allows.
var ErrMemory = errors.New("too large a window")

// UsualMemory is the memory of a decoder with a window of at most 8 MiB, in bytes, rounded up.
const UsualMemory = 16 << 20

const (
	// freeWindow is the size of window or dictionary that later frames or blocks of a stream may always have. It is the
	// window of zstd at its default level.
	freeWindow = 2 << 20

	// usualWindow is the dictionary of xz at its default level, and the window of zstd up to level 19.
	usualWindow = 8 << 20

	// Memory of decoders without the window, in bytes, measured and rounded up.
	zstdMemory  = 3 << 19
	xzMemory    = 3 << 20
	gzipMemory  = 256 << 10
	bzip2Memory = 5 << 20

	// xzFirstBlock is the offset of the first block header in an xz stream, after the stream header. maxXzHeader is its
	// maximum length in bytes (xz-file-format.txt 2.1.1, 3.1.1).
	xzFirstBlock = 12
	maxXzHeader  = 1024
)

// overhead returns the memory of the reader without the window, in bytes.
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

// window returns the size of the window or dictionary that the stream may need, in bytes.
func (d *decompressor) window() (int64, error) {
	switch d.format {
	case Zstd:
		return d.zstdWindow()
	case Xz:
		head, err := d.peek(xzFirstBlock + maxXzHeader)
		window := xzDictionary(head)
		if len(head) > xzFirstBlock && head[xzFirstBlock] == 0 {
			window = maxXzDictionary // a stream without contents: nobody knows what follows
		}
		if bits, ok := xzDictionaryBits(d.size); ok {
			window = min(window, dictionarySize(bits))
		}
		return window, err
	}
	return 0, nil
}

// largestWindow returns the size of the largest window or dictionary that a stream with contents of d.size bytes needs,
// in bytes.
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

// zstdWindow returns the window of the first frame that is not skippable, at least freeWindow. For a damaged header, it
// returns freeWindow.
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
		if d.size >= 0 && h.HasFCS && h.FrameContentSize > uint64(d.size) {
			return 0, d.wrap(fmt.Errorf("a frame of %d bytes, want at most %d", h.FrameContentSize, d.size))
		}
		return max(freeWindow, min(frameWindow(h), maxZstdWindow)), nil
	}
	return maxZstdWindow, nil // the frame is too far away
}

// xzDictionary returns the size of the LZMA2 dictionary of the first block of a stream that begins with head, at least
// freeWindow. For a damaged header, it returns freeWindow.
func xzDictionary(head []byte) int64 { return xzBlockDictionary(head[min(xzFirstBlock, len(head)):]) }

// xzBlockDictionary is like xzDictionary, for a head that begins with the block.
func xzBlockDictionary(head []byte) int64 {
	at := lzma2At(head)
	if at < 0 {
		return freeWindow
	}
	return max(freeWindow, min(dictionarySize(head[at]), maxXzDictionary))
}

// lzma2At returns the offset of the size of the LZMA2 dictionary in the header of a block, or -1 if the header has
// none.
func lzma2At(head []byte) int {
	const hasPacked, hasUnpacked, lzma2 = 0x40, 0x80, 0x21
	if len(head) < 2 || head[0] == 0 { // an index, not a block
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

// dictionarySize decodes the size of a dictionary in the header of a block, and returns it in bytes.
func dictionarySize(bits byte) int64 {
	bits = min(bits, 40)
	return int64(2|bits&1) << (bits/2 + 11)
}

// xzDictionaryBits returns the code of the smallest dictionary for contents of size bytes. ok is false if size is
// negative or larger than every dictionary.
func xzDictionaryBits(size int64) (bits byte, ok bool) {
	for size >= 0 && bits < 40 {
		if dictionarySize(bits) >= size {
			return bits, true
		}
		bits++
	}
	return 0, false
}
