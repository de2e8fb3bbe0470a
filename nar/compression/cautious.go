package compression

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// cautiousContents returns how many bytes of the contents of a stream with this format and window are read cautiously.
// Decoding that many twice takes about as long as allocating the window.
func cautiousContents(format Type, window int64) int64 {
	switch {
	case window <= usualWindow:
		return 0
	case format == Zstd:
		// A decoder is ahead of its output by a block, whose matches must be in the usual window, too.
		return min(window/16, usualWindow-2*maxZstdBlock)
	case format == Xz:
		return window / 32
	}
	return 0
}

// A cautiousReader reads a stream that requests a large window. A few bytes may request 128 MiB, and allocating such a
// window takes longer than everything else. So the start of the contents is decoded with the usual window, which
// contains all of its matches, and the input is kept. If there are more contents, they are decoded again from the start
// with the large window.
type cautiousReader struct {
	d      *decompressor
	window int64
	limit  int64 // bytes of contents to decode with the usual window
	out    int64 // bytes of contents

	start *decompressor // nil: the large window is in use
	kept  *keptInput
}

// openCautiously is like open, for a stream that is read cautiously.
func (d *decompressor) openCautiously(window int64) (io.ReadCloser, Type, error) {
	limit := cautiousContents(d.format, window)
	c := &cautiousReader{d: d, window: window, limit: limit, kept: &keptInput{in: d.buffered, most: limit, format: d.format}}
	c.kept.windows.most = usualWindow
	in := buffers.Get().(*bufio.Reader)
	in.Reset(c.kept)
	c.start = &decompressor{format: d.format, src: d.src, buffered: in, size: usualWindow, freeOutput: d.freeOutput, serial: true}
	under := d.buffered
	d.dec, d.buffered, d.most = c, in, usualWindow
	d.close = func(again bool) {
		c.closeStart(again)
		recycle(under)
	}
	var err error
	if d.format == Zstd {
		err = c.start.openZstd(in, usualWindow)
	} else {
		err = c.start.openXz(in, usualWindow)
	}
	if err != nil && c.mustGrow(err) {
		err = c.grow()
	}
	if err != nil {
		err = d.wrap(err)
		d.Close()
		return nil, "", err
	}
	return d, d.format, nil
}

func (c *cautiousReader) Read(p []byte) (n int, err error) {
	if c.start != nil && c.out == c.limit {
		if err := c.grow(); err != nil {
			return 0, err
		}
	}
	if c.start == nil {
		return c.d.dec.Read(p)
	}
	n, err = c.start.dec.Read(p[:min(int64(len(p)), c.limit-c.out)])
	c.out += int64(n)
	if err != nil && c.mustGrow(err) {
		err = c.grow()
	}
	return n, err
}

// mustGrow reports whether an error means that the usual window or the kept input is too small.
func (c *cautiousReader) mustGrow(err error) bool {
	return c.kept.full || errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) ||
		errors.Is(err, xz.ErrMemlimit)
}

// grow decodes the stream again from its start with the large window, up to the present position.
func (c *cautiousReader) grow() error {
	d, started := c.d, c.d.close
	c.closeStart(false)
	in := buffers.Get().(*bufio.Reader)
	in.Reset(c.kept.again())
	recycle(d.buffered)
	d.buffered, d.most = in, c.window
	c.kept = nil
	var err error
	if d.format == Zstd {
		err = d.openZstd(in, c.window)
	} else {
		err = d.openXz(in, c.window)
	}
	if err != nil {
		d.dec, d.close = c, started
		return err
	}
	opened := d.close
	d.close = func(again bool) {
		opened(again)
		started(again)
	}
	_, err = io.CopyN(io.Discard, d.dec, c.out)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // impossible: these bytes were read before
	}
	return err
}

// closeStart closes the decoder with the usual window.
func (c *cautiousReader) closeStart(again bool) {
	if c.start != nil && c.start.close != nil {
		c.start.close(again && c.out <= maxPooled)
	}
	c.start = nil
}

// keptInput reads the start of a stream, lowers the windows that it requests to the usual one, and keeps the original
// input.
type keptInput struct {
	in     *bufio.Reader
	format Type
	most   int64 // maximum number of bytes to keep
	full   bool  // a read would have exceeded most

	n       int64 // bytes kept
	kept    [][]byte
	windows zstdWindows
}

var errKeptInput = errors.New("too much input for few contents")

func (k *keptInput) Read(p []byte) (int, error) {
	if k.n >= k.most {
		k.full = true
		return 0, errKeptInput
	}
	// Wait for a whole header.
	if _, err := k.in.Peek(zstd.HeaderMaxSize); err != nil && k.in.Buffered() == 0 {
		return 0, err
	}
	b, _ := k.in.Peek(min(len(p), k.in.Buffered()))
	n := copy(p, b)
	if k.format == Zstd {
		n = k.lower(p[:n])
	}
	k.keep(b[:n])
	return k.in.Discard(n)
}

// lower lowers windows in the next bytes of a zstd stream. It returns the number of bytes up to the end of a frame.
func (k *keptInput) lower(p []byte) int {
	if k.windows.atFrame() {
		lowerContents(p)
	}
	return len(p) - len(k.windows.frame(p))
}

// lowerContents lowers the size of the contents that a frame states instead of a window. The new size is wrong. If the
// frame ends within the contents that are read cautiously, it is an error, as with the original size, which is larger,
// too.
func lowerContents(frame []byte) {
	var h zstd.Header
	if h.Decode(frame) != nil || !h.SingleSegment || h.FrameContentSize <= usualWindow || h.HeaderSize > len(frame) {
		return
	}
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], usualWindow)
	const descriptor = 4
	width := 1 << (frame[descriptor] >> 6) // 4 or 8 for a size this large
	copy(frame[h.HeaderSize-width:h.HeaderSize], size[:])
}

func (k *keptInput) keep(b []byte) {
	const first, most = 4 << 10, 256 << 10
	for len(b) > 0 {
		last := len(k.kept) - 1
		if last < 0 || len(k.kept[last]) == cap(k.kept[last]) {
			k.kept = append(k.kept, make([]byte, 0, max(first, min(k.n, most))))
			last++
		}
		n := min(len(b), cap(k.kept[last])-len(k.kept[last]))
		k.kept[last] = append(k.kept[last], b[:n]...)
		k.n += int64(n)
		b = b[n:]
	}
}

// again returns a reader of all input.
func (k *keptInput) again() io.Reader {
	readers := make([]io.Reader, 0, len(k.kept)+1)
	for _, b := range k.kept {
		readers = append(readers, bytes.NewReader(b))
	}
	return io.MultiReader(append(readers, k.in)...)
}
