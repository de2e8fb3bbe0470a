package compression

import (
	"bufio"
	"encoding/binary"
	"io"
)

// An xzBlockHeader is the header of a block (xz-file-format.txt 3.1).
type xzBlockHeader struct {
	header     int64 // size of the header
	packed     int64 // size of the compressed data; 0: not in the header
	plain      int64 // size of the contents; -1: not in the header
	dictionary int64
}

// parseXzBlock parses the header of a block. It accepts every header that the library accepts, and others.
func parseXzBlock(b []byte) (h xzBlockHeader, ok bool) {
	const hasPacked, hasPlain = 0x40, 0x80
	if len(b) < 2 || b[0] == 0 {
		return h, false
	}
	h = xzBlockHeader{header: 4 * (int64(b[0]) + 1), plain: -1, dictionary: xzBlockDictionary(b)}
	if int64(len(b)) < h.header {
		return h, false
	}
	flags, rest := b[1], b[2:h.header]
	for _, field := range []struct {
		flag byte
		to   *int64
	}{{hasPacked, &h.packed}, {hasPlain, &h.plain}} {
		if flags&field.flag == 0 {
			continue
		}
		v, n := binary.Uvarint(rest)
		if n <= 0 || v > 1<<62 {
			return h, false
		}
		*field.to, rest = int64(v), rest[n:]
	}
	return h, true
}

// sized reports whether the header has both sizes.
func (h *xzBlockHeader) sized() bool { return h.packed > 0 && h.plain >= 0 }

// An xzBlock is a block as a separate stream: Read returns the header of the original stream, the block, and an index
// and a footer for this block. So the library can check the block, although its reader cannot begin in the middle of a
// stream.
type xzBlock struct {
	xzBlockHeader
	stream  []byte // the header of the stream
	in      *bufio.Reader
	pending []byte // Read returns these bytes first
	left    int64  // bytes of in to pass on
	last    bool   // only the index follows these bytes
	all     bool   // pass on everything, so that the library reports what is wrong
	done    bool   // nothing follows pending
	seen    int64  // bytes of the contents that were read so far
	chunks  xzChunks
	bad     error // of chunks

	loaded bool // the block is in part, no longer in in
	part   part
}

// newXzBlock returns the block that begins at in, in a stream with this header.
func newXzBlock(in *bufio.Reader, stream []byte) *xzBlock {
	b := &xzBlock{stream: stream, pending: stream, in: in}
	head, _ := in.Peek(maxXzHeader)
	h, ok := parseXzBlock(head)
	b.xzBlockHeader, b.all = h, !ok
	switch {
	case !ok:
	case h.sized():
		b.left, b.last = b.length(), true
	default:
		b.packed, b.plain = 0, 0 // of the chunks so far
		b.left = h.header
	}
	b.chunks.skip = h.header
	return b
}

// limit lowers the dictionary that the block requests to the size that contents of size bytes need. No byte of the
// block may have been read.
func (b *xzBlock) limit(size int64) {
	bits, ok := xzDictionaryBits(size)
	head, _ := b.in.Peek(int(b.header))
	if !ok || b.all || int64(len(head)) < b.header {
		return
	}
	lowerDictionary(head, bits) // in the buffer
	b.dictionary = xzBlockDictionary(head)
}

// length returns the number of bytes of the block: header, data, padding and check.
func (b *xzBlock) length() int64 { return b.header + b.packed + padding(b.packed) + b.check() }

// unpadded returns the length as stated in the index.
func (b *xzBlock) unpadded() int64 { return b.header + b.packed + b.check() }

// check returns the size of the check after the data, in bytes.
func (b *xzBlock) check() int64 {
	id := b.stream[7] & 15
	if id == 0 {
		return 0
	}
	return 4 << ((id - 1) / 3)
}

// padding returns the number of bytes that pad n to a multiple of 4.
func padding(n int64) int64 { return -n & 3 }

func (b *xzBlock) Read(p []byte) (int, error) {
	for {
		if len(b.pending) > 0 {
			n := copy(p, b.pending)
			b.pending = b.pending[n:]
			return n, nil
		}
		switch {
		case b.bad != nil:
			return 0, b.bad
		case b.done:
			return 0, io.EOF
		case b.all:
			return b.in.Read(p)
		case b.left > 0:
			in := io.Reader(b.in)
			if b.loaded {
				in = &b.part
			}
			n, err := in.Read(p[:min(int64(len(p)), b.left)])
			b.left -= int64(n)
			if b.bad = b.chunks.check(p[:n]); b.bad != nil {
				return 0, b.bad
			}
			return n, err
		case b.last:
			b.pending, b.done = b.end(), true
		default:
			b.nextChunk()
		}
	}
}

// nextChunk determines the length of the next chunk, for a block whose header does not state the length of the block.
func (b *xzBlock) nextChunk() {
	head, _ := b.in.Peek(5)
	if len(head) > 0 && head[0] == 0 {
		b.packed++
		b.left, b.last = 1+padding(b.packed)+b.check(), true
		return
	}
	n, plain, ok := xzChunk(head)
	if !ok {
		b.all = true
	}
	b.plain += plain
	b.packed += n
	b.left = n
}

// xzChunk returns the length of a chunk of LZMA2 and of its contents, in bytes. A chunk begins with
//
//	0       the end
//	1, 2    size-1 (2 bytes, big-endian), the contents
//	128…    size-1 (5 bits of the first byte and 2 bytes), compressed size-1 (2), properties (1) if the first byte is
//	        at least 192, compressed data
func xzChunk(head []byte) (packed, size int64, ok bool) {
	word := func(at int) int64 { return int64(head[at])<<8 | int64(head[at+1]) }
	switch {
	case len(head) > 2 && head[0] <= 2 && head[0] > 0:
		size = word(1) + 1
		return 3 + size, size, true
	case len(head) > 4 && head[0] >= 0x80:
		packed = 5 + word(3) + 1
		if head[0] >= 0xc0 {
			packed++
		}
		return packed, int64(head[0]&0x1f)<<16 + word(1) + 1, true
	}
	return 0, 0, false
}

// end returns the index and the footer of a stream that consists only of this block.
func (b *xzBlock) end() []byte {
	index := []byte{0, 1}
	index = binary.AppendUvarint(index, uint64(b.unpadded()))
	index = binary.AppendUvarint(index, uint64(b.plain))
	return appendXzEnd(index, b.stream[6:8])
}

// concurrent reports whether a goroutine may decode the block.
func (b *xzBlock) concurrent() bool {
	return b.sized() && !b.all && b.plain >= smallestPart && b.dictionary <= usualWindow && max(b.packed, b.plain) < partMemory
}
