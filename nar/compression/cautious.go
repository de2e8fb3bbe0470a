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

// cautiousContents returns how much of a stream of this format and window is read cautiously, in bytes of contents: so much
// that decoding it twice takes about as long as making the window.
func cautiousContents(format Type, window int64) int64 {
	switch {
	case window <= usualWindow:
		return 0
	case format == Zstd:
		// A decoder is ahead of its output by a block, whose matches must lie in the usual window, too.
		return min(window/16, usualWindow-2*maxZstdBlock)
	case format == Xz:
		return window / 32
	}
	return 0
}

// A cautiousReader reads a stream that asks for a large window. A few bytes may ask for 128 MiB, and making such a window
// takes longer than all the rest. So the start of the contents is decoded with the usual window, in which all of its
// matches lie, and the input is kept. If the contents go on, they are decoded again with the large window.
type cautiousReader struct {
	d      *decompressor
	window int64
	limit  int64 // of the contents that are decoded with the usual window
	out    int64 // bytes of contents

	start *decompressor // nil: the large window is in use
	kept  *keptInput
}

// openCautiously is open for a stream that is read cautiously.
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

// mustGrow reports whether an error says that the usual window, or the input that is kept, is too little.
func (c *cautiousReader) mustGrow(err error) bool {
	return c.kept.full || errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) ||
		errors.Is(err, xz.ErrMemlimit)
}

// grow decodes the stream from its start with the large window, up to where the output is.
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
		err = io.ErrUnexpectedEOF // impossible: it was read before
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

// keptInput reads the start of a stream, lowers the windows that it asks for to the usual one, and keeps what it read.
type keptInput struct {
	in     *bufio.Reader
	format Type
	most   int64 // that is kept, in bytes
	full   bool  // more was wanted

	n       int64 // bytes that are kept
	kept    [][]byte
	windows zstdWindows
}

var errKeptInput = errors.New("too much input for few contents")

func (k *keptInput) Read(p []byte) (int, error) {
	if k.n >= k.most {
		k.full = true
		return 0, errKeptInput
	}
	// A header is seen as a whole.
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

// lower changes what is read of a stream of zstd. It returns how much, up to the end of a frame.
func (k *keptInput) lower(p []byte) int {
	if k.windows.atFrame() {
		lowerContents(p)
	}
	return len(p) - len(k.windows.frame(p))
}

// lowerContents lowers the size of the contents that a frame asks for in place of a window. It is wrong then, and the frame
// an error, if no more contents come than can be read cautiously: as before, they are too few.
func lowerContents(frame []byte) {
	var h zstd.Header
	if h.Decode(frame) != nil || !h.SingleSegment || h.FrameContentSize <= usualWindow || h.HeaderSize > len(frame) {
		return
	}
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], usualWindow)
	const descriptor = 4
	width := 1 << (frame[descriptor] >> 6) // 4 or 8, for a size that is so large
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
