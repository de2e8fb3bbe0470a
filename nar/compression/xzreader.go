package compression

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"time"

	"github.com/mikelolasagasti/xz"
)

// An xzReader reads xz streams block by block. If the header of a block has its sizes, as `xz -T` writes it, a
// goroutine decodes the block while other blocks are read, as far as partMemory allows. If a stream begins with
// anything unexpected, the library reads it and everything after it.
//
// The library decodes and checks each block (see xzBlock), so its errors are the same.
type xzReader struct {
	in   *bufio.Reader
	dec  *xz.Reader // reads blocks that no goroutine decodes
	rest bool       // dec reads all that is left
	size int64      // maximum size of all contents; negative: any
	err  error

	header []byte // of the stream; nil outside of streams
	ended  bool   // a stream has ended; padding may follow
	blocks *xzRecords

	queue   []*xzBlock // the blocks that were begun, in order
	serial  bool       // the last block in queue is read from in
	workers workers
}

// begin begins the next stream. After the last one, it returns io.EOF.
func (x *xzReader) begin() error {
	if x.ended {
		if err := x.skipPadding(); err != nil {
			return err
		}
	}
	head, _ := x.in.Peek(xzFirstBlock + maxXzHeader)
	if !splittable(head) {
		x.rest = true
		return x.dec.Reset(x.in)
	}
	x.header, x.blocks = bytes.Clone(head[:xzHeaderSize]), newXzRecords()
	_, err := x.in.Discard(xzHeaderSize)
	return err
}

// splittable reports whether head begins a stream that can be split into its blocks.
func splittable(head []byte) bool {
	if len(head) < xzHeaderSize || string(head[:7]) != "\xfd7zXZ\x00\x00" ||
		crc32.ChecksumIEEE(head[6:8]) != binary.LittleEndian.Uint32(head[8:]) {
		return false
	}
	switch xz.CheckID(head[7]) {
	case xz.CheckNone, xz.CheckCRC32, xz.CheckCRC64, xz.CheckSHA256:
		if len(head) > xzHeaderSize && head[xzHeaderSize] == 0 {
			return true // an index: there are no blocks
		}
		_, ok := parseXzBlock(head[xzHeaderSize:])
		return ok
	}
	return false
}

// skipPadding skips the zeros after a stream.
func (x *xzReader) skipPadding() error {
	for n := 0; ; n++ {
		c, err := x.in.ReadByte()
		switch {
		case err == nil && c == 0:
			continue
		case err != nil && err != io.EOF:
			return err
		case n%4 != 0:
			return xz.ErrData
		case err == io.EOF:
			return io.EOF
		}
		return x.in.UnreadByte()
	}
}

func (x *xzReader) Read(p []byte) (n int, err error) {
	for n == 0 && len(p) > 0 && x.err == nil {
		switch {
		case x.rest:
			n, x.err = x.dec.Read(p)
		case len(x.queue) > 0:
			n, x.err = x.read(x.queue[0], p)
		case x.header != nil:
			x.err = x.next()
		default:
			x.err = x.begin()
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, x.err
}

// read reads from b, the first block of the queue.
func (x *xzReader) read(b *xzBlock, p []byte) (n int, err error) {
	if b.part.out != nil {
		n, err = x.workers.readOutput(&b.part, p)
	} else {
		n, err = x.dec.Read(p)
	}
	before := b.seen / pieceSize
	if b.seen += int64(n); err == nil && b.seen/pieceSize > before {
		err = x.fill() // memory was freed
	}
	if err != io.EOF {
		return n, err
	}
	x.blocks.add(uint64(b.unpadded()), uint64(b.seen))
	if !b.loaded {
		x.serial = false
	}
	b.part.discard()
	if x.queue = x.queue[1:]; len(x.queue) == 0 {
		return n, nil
	}
	return n, x.fill()
}

// next begins the next blocks, or ends the stream.
func (x *xzReader) next() error {
	first, err := x.in.Peek(1)
	switch {
	case err == io.EOF:
		return xz.ErrBuf
	case err != nil:
		return err
	case first[0] == 0: // the index
		flags := x.header[6:8]
		x.header, x.ended = nil, true
		return x.blocks.readIndex(x.in, flags)
	}
	return x.fill()
}

// fill begins the block to read, if there is none, and others to decode at the same time.
func (x *xzReader) fill() error {
	for !x.serial {
		if len(x.queue) > 0 && !x.workers.free() {
			return nil
		}
		b := newXzBlock(x.in, x.header)
		in, dictionary := inPieces(b.length()), b.dictionary
		if len(x.queue) == 0 {
			dictionary = 0 // it uses that in any case
		}
		// Loading a block is worth its memory only if the next one can be decoded at the same time.
		if !x.workers.slow && runtime.GOMAXPROCS(0) > 1 && b.concurrent() && 2*(in+leastOutput)+b.dictionary < partMemory && hold(in+leastOutput+dictionary) {
			b.part.heldIn, b.part.heldOut = in+dictionary, leastOutput
			x.load(b)
			x.workers.begin(&b.part, b.plain, func() (io.Reader, error) {
				dec, err := takeXz(usualWindow)
				if err == nil {
					err = dec.Reset(b)
				}
				return dec, err
			}, func(dec io.Reader) { xzDecoders.Put(dec) })
		} else if len(x.queue) > 0 {
			return nil
		} else {
			x.serial = true
			b.limit(x.size)
			x.queue = append(x.queue, b)
			return x.dec.Reset(b)
		}
		x.queue = append(x.queue, b)
	}
	return nil
}

// slowXz is a time per byte of input. If reading takes longer, loading blocks first is slower than decoding them as
// they arrive. Decoding takes 70 ns per byte. Tests raise it.
var slowXz = 30 * time.Nanosecond

func (x *xzReader) load(b *xzBlock) {
	b.loaded = true
	x.workers.timed(&b.part, func() { b.part.load(x.in, b.length()) })
}

// close ends the goroutines, and returns the memory of the blocks.
func (x *xzReader) close() {
	x.workers.end()
	for _, b := range x.queue {
		b.part.discard()
	}
	x.queue = nil
}

// xzRecords summarizes the records of an index, as read or as expected. Like the library, it keeps only sums, so that
// its size does not depend on the number of blocks.
type xzRecords struct {
	count           uint64
	unpadded, plain uint64
	hash            hash.Hash
}

func newXzRecords() *xzRecords { return &xzRecords{hash: sha256.New()} }

func (r *xzRecords) add(unpadded, plain uint64) {
	r.count++
	r.unpadded += unpadded
	r.plain += plain
	var sums [16]byte
	binary.LittleEndian.PutUint64(sums[:], r.unpadded)
	binary.LittleEndian.PutUint64(sums[8:], r.plain)
	r.hash.Write(sums[:])
}

// readIndex reads the index and the footer of a stream with these flags, and compares them with r.
func (r *xzRecords) readIndex(br *bufio.Reader, flags []byte) error {
	in := &indexReader{in: br}
	got := newXzRecords()
	in.byte() // 0
	if count := in.number(); in.err == nil && count != r.count {
		return xz.ErrData
	}
	for got.count < r.count && in.err == nil {
		unpadded, plain := in.number(), in.number()
		got.add(unpadded, plain)
	}
	for in.n%4 != 0 && in.err == nil {
		if in.byte() != 0 {
			return xz.ErrData
		}
	}
	if in.err != nil {
		return in.err
	}
	if !bytes.Equal(got.hash.Sum(nil), r.hash.Sum(nil)) {
		return xz.ErrData
	}
	for _, want := range appendXzFooter(nil, in.crc, in.n, flags) {
		if got := in.byte(); in.err != nil {
			return in.err
		} else if got != want {
			return xz.ErrData
		}
	}
	return nil
}

// An indexReader reads an index.
type indexReader struct {
	in  *bufio.Reader
	n   int64
	crc uint32
	err error
}

func (r *indexReader) byte() byte {
	if r.err != nil {
		return 0
	}
	c, err := r.in.ReadByte()
	switch {
	case err == io.EOF:
		r.err = xz.ErrBuf
	case err != nil:
		r.err = err
	default:
		r.n++
		r.crc = crc32.Update(r.crc, crc32.IEEETable, []byte{c})
	}
	return c
}

// number reads a LEB128 number of at most 9 bytes.
func (r *indexReader) number() (v uint64) {
	for shift := 0; shift < 63; shift += 7 {
		c := r.byte()
		if r.err != nil {
			return 0
		}
		v |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			if c == 0 && shift > 0 { // not the shortest form
				r.err = xz.ErrData
			}
			return v
		}
	}
	r.err = xz.ErrData
	return 0
}
