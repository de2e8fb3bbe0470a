package compression

import (
	"bufio"
	"io"
	"runtime"
	"time"

	"github.com/klauspost/compress/zstd"
)

// maxFrame is the maximum size of the contents of a frame that is decoded concurrently, in bytes.
const maxFrame = 16 << 20

// A zstdReader reads zstd streams. Frames that state the size of their contents, of at most maxFrame, as Nix 2.35 and
// [Compress] write them, are decoded concurrently: goroutines decode the next frames while one is read, as far as
// partMemory allows. From any other frame on, the library reads the whole rest.
type zstdReader struct {
	in     *bufio.Reader
	dec    *zstd.Decoder // reads frames that no goroutine decodes
	window int64         // the largest window that dec allows
	rest   bool          // dec reads everything that is left
	seen   int64         // bytes that were read from goroutines
	err    error

	queue   []*part // in order
	last    bool    // the last frame of the queue is not complete in memory; from there on, the library reads the rest
	workers workers
}

func (z *zstdReader) Read(b []byte) (n int, err error) {
	for n == 0 && len(b) > 0 && z.err == nil {
		switch {
		case z.rest:
			n, z.err = z.dec.Read(b)
		case len(z.queue) == 0:
			z.err = z.fill()
		default:
			n, z.err = z.read(z.queue[0], b)
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, z.err
}

// read reads from p, the first frame of the queue.
func (z *zstdReader) read(p *part, b []byte) (n int, err error) {
	n, err = z.workers.readOutput(p, b)
	if before := z.seen / pieceSize; err == nil {
		if z.seen += int64(n); z.seen/pieceSize > before && !z.last {
			err = z.fill() // some memory is free now
		}
	}
	if err != io.EOF {
		return n, err
	}
	p.discard()
	if z.queue = z.queue[1:]; z.last && len(z.queue) == 1 {
		return n, z.readRest(z.queue[0])
	}
	return n, z.fill()
}

// readRest makes the library read the rest, beginning with p.
func (z *zstdReader) readRest(p *part) error {
	z.rest = true
	if p == nil {
		return z.dec.Reset(z.in)
	}
	in := io.Reader(p)
	if p.err == nil {
		in = io.MultiReader(p, z.in)
	}
	return z.dec.Reset(in)
}

// fill begins the frame to read, if there is none, and others to decode at the same time.
func (z *zstdReader) fill() error {
	for !z.last {
		first := len(z.queue) == 0
		if !first && !z.workers.free() {
			return nil
		}
		head, _ := z.in.Peek(zstd.HeaderMaxSize)
		h, ok := z.concurrent(head)
		// The input is hardly ever larger than the contents.
		size, window := inPieces(int64(h.FrameContentSize)), int64(h.WindowSize)
		if first {
			window = 0 // it takes that in any case
		}
		if !ok || z.workers.slow || !hold(size+window+leastOutput) {
			if first {
				return z.readRest(nil)
			}
			return nil
		}
		p := &part{heldIn: size + window, heldOut: leastOutput}
		z.queue = append(z.queue, p)
		z.workers.timed(p, func() { z.last = !z.load(p, h) })
		unused := size - inPieces(p.loaded)
		p.heldIn -= unused
		release(&unused)
		if first && z.last {
			return z.readRest(p)
		}
		if !z.last {
			z.begin(p, h)
		}
	}
	return nil
}

// concurrent parses the header of a frame, and reports whether the frame may be decoded concurrently.
func (z *zstdReader) concurrent(head []byte) (h zstd.Header, ok bool) {
	if runtime.GOMAXPROCS(0) == 1 || h.Decode(head) != nil || h.Skippable || !h.HasFCS || h.DictionaryID != 0 {
		return zstd.Header{}, false
	}
	if h.SingleSegment {
		h.WindowSize = h.FrameContentSize
	}
	n := int64(h.FrameContentSize)
	return h, n >= smallestPart && n <= maxFrame && int64(h.WindowSize) <= min(usualWindow, z.window)
}

// load reads a frame into memory, and reports whether it is complete. It is not if the input ends, if the frame has a
// block of a reserved type, or if the frame is longer than its contents.
//
//	header  blocks…  checksum (4), if the header says so
//
// A block begins with a little-endian number of 3 bytes: bit 0 is set in the last block, bits 1 and 2 are the type, the
// other bits are the size. A block of type 1 has a single byte, which is repeated.
func (z *zstdReader) load(p *part, h zstd.Header) bool {
	p.load(z.in, int64(h.HeaderSize))
	for last := false; !last && p.err == nil; {
		head, err := z.in.Peek(3)
		if err != nil {
			return false
		}
		v := int64(head[0]) | int64(head[1])<<8 | int64(head[2])<<16
		last = v&1 != 0
		n := v >> 3
		switch v >> 1 & 3 {
		case 1:
			n = 1
		case 3:
			return false
		}
		if p.loaded+3+n+4 > int64(h.FrameContentSize) {
			return false
		}
		p.load(z.in, 3+n)
	}
	if h.HasCheckSum {
		p.load(z.in, 4)
	}
	return p.err == nil
}

// begin starts a goroutine that decodes p.
func (z *zstdReader) begin(p *part, h zstd.Header) {
	z.workers.begin(p, int64(h.FrameContentSize), func() (io.Reader, error) {
		dec, err := takeZstd(usualWindow)
		if err == nil {
			err = dec.Reset(p)
		}
		return dec, err
	}, func(dec io.Reader) {
		if dec := dec.(*zstd.Decoder); dec.Reset(nil) == nil {
			zstdDecoders.Put(dec)
		}
	})
}

// slowZstd is the same for zstd as slowXz for xz. Decoding takes 4 ns per byte. Tests raise it.
var slowZstd = 2 * time.Nanosecond

// close ends the goroutines, and returns the memory of the frames.
func (z *zstdReader) close() {
	z.workers.end()
	for _, p := range z.queue {
		p.discard()
	}
	z.queue = nil
}
