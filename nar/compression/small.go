package compression

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// fitSmall handles a stream that is in the buffer as a whole: it lowers its windows and dictionaries to the size that
// the contents need. A few bytes may request 128 MiB, and allocating that takes longer than everything else. It returns
// the largest of them, or 0 if it changed nothing.
func (d *decompressor) fitSmall() (largest int64) {
	if d.size >= 0 || d.format != Zstd && d.format != Xz {
		return 0
	}
	stream, err := d.buffered.Peek(inputBuffer)
	if err != io.EOF {
		return 0
	}
	blocks, most := zstdContents, int64(0)
	if d.format == Xz {
		blocks = xzContents
	}
	if most = blocks(stream); most < 0 || most > maxZstdWindow {
		return 0
	}
	d.size = max(most, freeWindow)
	if d.format == Zstd {
		(&zstdWindows{most: uint64(d.size)}).pass(stream)
		eachZstdFrame(stream, func(h zstd.Header) { largest = max(largest, min(frameWindow(h), maxZstdWindow)) }, func() {})
		return largest
	}
	bits, _ := xzDictionaryBits(d.size)
	eachXzBlock(stream, func(header []byte) {
		lowerDictionary(header, bits)
		largest = max(largest, xzBlockDictionary(header))
	}, func(int64) {})
	return largest
}

// frameWindow returns the window of a frame, in bytes.
func frameWindow(h zstd.Header) int64 {
	if h.SingleSegment {
		return int64(min(h.FrameContentSize, 1<<62))
	}
	return int64(min(h.WindowSize, 1<<62))
}

// maxZstdBlock is the maximum size of the contents of a block, in bytes (RFC 8878, 3.1.1.2.4).
const maxZstdBlock = 128 << 10

// zstdContents returns the maximum size of a stream's contents in bytes, judging by the sizes of its blocks, or -1 if
// the stream is damaged.
func zstdContents(b []byte) (most int64) {
	if !eachZstdFrame(b, func(zstd.Header) {}, func() { most += maxZstdBlock }) {
		return -1
	}
	return most
}

// eachZstdFrame calls frame for each frame of a stream that is not skippable, and block for each of its blocks. It
// reports whether the frames are complete.
func eachZstdFrame(b []byte, frame func(zstd.Header), block func()) bool {
	for len(b) > 0 {
		var h zstd.Header
		if h.Decode(b) != nil || h.HeaderSize > len(b) {
			return false
		}
		b = b[h.HeaderSize:]
		if h.Skippable {
			if uint64(h.SkippableSize) > uint64(len(b)) {
				return false
			}
			b = b[h.SkippableSize:]
			continue
		}
		frame(h)
		for last := false; !last; {
			if len(b) < 3 {
				return false
			}
			word := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
			last = word&1 == 1
			size := int(word >> 3)
			if word>>1&3 == 1 { // one byte, repeated
				size = 1
			}
			if size > len(b)-3 {
				return false
			}
			b = b[3+size:]
			block()
		}
		if h.HasCheckSum {
			b = b[min(4, len(b)):]
		}
	}
	return true
}

// xzContents returns the size of a stream's contents in bytes, judging by the sizes of its chunks, or -1 if the stream
// is damaged.
func xzContents(b []byte) (size int64) {
	if !eachXzBlock(b, func([]byte) {}, func(n int64) { size += n }) {
		return -1
	}
	return size
}

// eachXzBlock calls header with the header of each block of a stream and of the streams after it, and chunk with the
// size of the contents of each chunk. It reports whether the streams are complete. It does not check checksums or the
// index.
func eachXzBlock(b []byte, header func([]byte), chunk func(int64)) bool {
	for len(b) > 0 {
		if len(b) >= 4 && string(b[:4]) == "\x00\x00\x00\x00" {
			b = b[4:] // padding after a stream
			continue
		}
		if len(b) < xzHeaderSize {
			return false
		}
		stream := b[:xzHeaderSize]
		for b = b[xzHeaderSize:]; ; {
			h, ok := parseXzBlock(b)
			if !ok {
				break
			}
			header(b[:h.header])
			block := xzBlock{xzBlockHeader: h, stream: stream}
			rest, ok := xzChunkSizes(b[h.header:], chunk)
			if !ok {
				return false
			}
			block.packed = int64(len(b)) - h.header - int64(len(rest))
			if block.length() > int64(len(b)) {
				return false
			}
			b = b[block.length():]
		}
		end := xzIndexSize(b)
		if end < 0 || end+xzFooterSize > len(b) {
			return false
		}
		b = b[end+xzFooterSize:]
	}
	return true
}

// xzChunkSizes calls chunk for the chunks of a block, and returns the bytes after them.
func xzChunkSizes(b []byte, chunk func(int64)) (rest []byte, ok bool) {
	for {
		if len(b) == 0 {
			return nil, false
		}
		if b[0] == 0 {
			return b[1:], true
		}
		packed, size, ok := xzChunk(b)
		if !ok || packed > int64(len(b)) {
			return nil, false
		}
		chunk(size)
		b = b[packed:]
	}
}

// xzIndexSize returns the length in bytes of the index at the start of b, or -1.
func xzIndexSize(b []byte) int {
	if len(b) == 0 || b[0] != 0 {
		return -1
	}
	at := 1
	next := func() (uint64, bool) {
		v, n := binary.Uvarint(b[at:])
		at += max(n, 0)
		return v, n > 0
	}
	count, ok := next()
	for ok && count > 0 {
		count--
		if _, ok = next(); ok {
			_, ok = next()
		}
	}
	if !ok {
		return -1
	}
	return at + int(padding(int64(at))) + 4
}

// lowerDictionary changes the header of a block if it requests a larger dictionary.
func lowerDictionary(header []byte, bits byte) {
	end := len(header) - 4
	if at := lzma2At(header); at >= 0 && at < end && header[at] > bits && crc32.ChecksumIEEE(header[:end]) == binary.LittleEndian.Uint32(header[end:]) {
		header[at] = bits
		binary.LittleEndian.PutUint32(header[end:], crc32.ChecksumIEEE(header[:end]))
	}
}
