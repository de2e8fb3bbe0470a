package compression

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz"
)

// The layout of an xz stream (https://tukaani.org/xz/xz-file-format.txt):
//
//	header  12  magic, flags (2), CRC32 of the flags
//	block…      each a multiple of 4 bytes long
//	index       0x00, number of blocks, then for each block its unpadded and its
//	            uncompressed size, zeros up to a multiple of 4, CRC32 of the index
//	footer  12  CRC32 of the next 6 bytes, size of the index in words minus one
//	            (4), flags (2), "YZ"
//
// Numbers in the index are LEB128, the others little-endian.
const (
	xzHeaderSize = 12
	xzFooterSize = 12
	xzCheckSize  = 8 // of the CRC64 after a block
)

// An xzWriter splits its input into blocks of a fixed size, encodes each in a goroutine as a stream of one block, and
// joins the blocks with one index, like `xz -T`. (Several streams in a row would be simpler, but some decoders stop
// after the first.)
type xzWriter struct {
	w         io.Writer
	dict      int
	blockSize int
	workers   int

	block   []byte
	pending []chan encodedXz // in the order of the blocks
	header  []byte           // the header of the stream; nil until it was written
	count   uint64           // of records
	records []byte
	err     error
}

type encodedXz struct {
	header []byte // of the stream
	data   []byte
	record []byte // of the index
	err    error
}

func newXzWriter(w io.Writer, o Options) *xzWriter {
	// The dictionaries of the xz program's presets.
	dict := [...]int{8 << 20, 1 << 20, 2 << 20, 4 << 20, 4 << 20, 8 << 20, 8 << 20, 16 << 20, 32 << 20, 64 << 20}[o.Level]
	return &xzWriter{w: w, dict: dict, blockSize: min(2*dict, 64<<20), workers: o.Workers}
}

func (x *xzWriter) Write(p []byte) (n int, err error) {
	if x.err != nil {
		return 0, x.err
	}
	for len(p) > 0 {
		m := min(len(p), x.blockSize-len(x.block))
		x.block = append(x.block, p[:m]...)
		p, n = p[m:], n+m
		if len(x.block) == x.blockSize {
			if x.err = x.startBlock(); x.err != nil {
				return n, x.err
			}
		}
	}
	return n, nil
}

func (x *xzWriter) startBlock() error {
	block := x.block
	x.block = nil
	sized := len(block) == x.blockSize || x.count > 0 || len(x.pending) > 0 // a single block is not sized
	if x.workers == 1 {
		return x.writeBlock(encodeXzBlock(block, x.dict, sized))
	}
	if len(x.pending) == x.workers {
		if err := x.finishBlock(); err != nil {
			return err
		}
	}
	done := make(chan encodedXz, 1) // buffered, because the writer may have been abandoned
	go func() { done <- encodeXzBlock(block, x.dict, sized) }()
	x.pending = append(x.pending, done)
	return nil
}

func (x *xzWriter) finishBlock() error {
	b := <-x.pending[0]
	x.pending = x.pending[1:]
	return x.writeBlock(b)
}

func (x *xzWriter) writeBlock(b encodedXz) error {
	if b.err != nil {
		return b.err
	}
	if x.header == nil {
		if _, err := x.w.Write(b.header); err != nil {
			return err
		}
		x.header = b.header
	}
	x.count++
	x.records = append(x.records, b.record...)
	_, err := x.w.Write(b.data)
	return err
}

func (x *xzWriter) Close() error {
	if x.err != nil {
		return x.err
	}
	if x.err = x.finish(); x.err != nil {
		return x.err
	}
	x.err = errors.New("compress xz: writer is closed")
	return nil
}

func (x *xzWriter) finish() error {
	if len(x.block) > 0 || x.count == 0 && len(x.pending) == 0 { // empty input becomes one empty block
		if err := x.startBlock(); err != nil {
			return err
		}
	}
	for len(x.pending) > 0 {
		if err := x.finishBlock(); err != nil {
			return err
		}
	}

	index := binary.AppendUvarint([]byte{0}, x.count)
	index = append(index, x.records...)
	_, err := x.w.Write(appendXzEnd(index, x.header[6:8]))
	return err
}

// appendXzEnd appends everything that follows the records of an index, in a stream with these flags.
func appendXzEnd(index, flags []byte) []byte {
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	return appendXzFooter(index, crc32.ChecksumIEEE(index), int64(len(index)), flags)
}

// appendXzFooter appends the CRC32 of an index of n bytes, and the footer.
func appendXzFooter(b []byte, sum uint32, n int64, flags []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, sum)
	tail := binary.LittleEndian.AppendUint32(nil, uint32(n/4))
	tail = append(tail, flags...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(tail))
	b = append(b, tail...)
	return append(b, "YZ"...)
}

// encodeXz returns data as an xz stream.
func encodeXz(data []byte, dict int) ([]byte, error) {
	var out bytes.Buffer
	w, err := xz.WriterConfig{DictCap: dict, CheckSum: xz.CRC64}.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// encodeXzBlock encodes data as a stream of one block and returns the parts of the stream. If sized is set, the header
// of the block has its sizes, as xz -T writes it, so that blocks can be decoded in parallel.
func encodeXzBlock(data []byte, dict int, sized bool) encodedXz {
	s, err := encodeXz(data, dict)
	if err != nil {
		return encodedXz{err: fmt.Errorf("compress xz: %w", err)}
	}
	footer := s[len(s)-xzFooterSize:]
	indexSize := 4 * (int(binary.LittleEndian.Uint32(footer[4:])) + 1)
	start := len(s) - xzFooterSize - indexSize
	index := s[start : len(s)-xzFooterSize]

	const recordAt = 2 // after the 0x00 and the number of blocks
	unpadded, n := binary.Uvarint(index[recordAt:])
	size, _ := binary.Uvarint(index[recordAt+n:])
	if index[1] != 1 || size != uint64(len(data)) {
		return encodedXz{err: fmt.Errorf("compress xz: an index of %d blocks and %d bytes, want 1 and %d", index[1], size, len(data))}
	}
	block := s[xzHeaderSize:start]
	if sized {
		before := 4 * (uint64(block[0]) + 1)
		header := sizedHeader(block[:before], unpadded-before-xzCheckSize, size)
		block = append(header, block[before:]...)
		unpadded += uint64(len(header)) - before
	}
	record := binary.AppendUvarint(nil, unpadded)
	return encodedXz{
		header: s[:xzHeaderSize],
		data:   block,
		record: binary.AppendUvarint(record, size),
	}
}

// sizedHeader adds both sizes to the header of a block, which has neither.
//
//	size/4-1 (1)  flags (1)  compressed size  size  filters  zeros  CRC32 (4)
func sizedHeader(header []byte, packed, size uint64) []byte {
	const hasPacked, hasSize = 0x40, 0x80
	h := []byte{0, header[1] | hasPacked | hasSize}
	h = binary.AppendUvarint(h, packed)
	h = binary.AppendUvarint(h, size)
	h = append(h, header[2:len(header)-4]...)
	for len(h)%4 != 0 {
		h = append(h, 0)
	}
	h[0] = byte(len(h) / 4)
	return binary.LittleEndian.AppendUint32(h, crc32.ChecksumIEEE(h))
}
