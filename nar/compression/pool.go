package compression

import (
	"bufio"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// maxPooled is the most output, in bytes, after which a decoder is used again. A decoder that has written more keeps more
// memory than is worth it.
const maxPooled = 1 << 20

// Decoders of the usual window that were closed. For a stream of a few KB, making one takes longer than decoding: xz
// allocates a dictionary of 8 MiB.
var (
	zstdDecoders sync.Pool // of *zstd.Decoder
	xzDecoders   sync.Pool // of *xz.Reader
)

// openZstd sets d to decode zstd from br.
func (d *decompressor) openZstd(br *bufio.Reader, window int64) error {
	dec, err := takeZstd(window)
	if err != nil {
		return err
	}
	finish := func() {}
	if d.concurrent {
		frames := &zstdReader{in: br, dec: dec, window: window, workers: newWorkers(slowZstd)}
		d.dec, finish = frames, frames.close
	} else if err := dec.Reset(br); err != nil {
		return err
	} else {
		d.dec = dec
	}
	d.close = func(again bool) {
		finish()
		if !again || window != usualWindow || dec.Reset(nil) != nil {
			dec.Close()
			return
		}
		zstdDecoders.Put(dec)
	}
	return nil
}

// takeZstd returns a decoder for this window.
func takeZstd(window int64) (*zstd.Decoder, error) {
	if window == usualWindow {
		if dec, ok := zstdDecoders.Get().(*zstd.Decoder); ok {
			return dec, nil
		}
	}
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(uint64(window)), zstd.WithDecoderMaxMemory(uint64(window)))
}

// openXz sets d to decode xz from br.
func (d *decompressor) openXz(br *bufio.Reader, window int64) error {
	dec, err := takeXz(window)
	if err != nil {
		return err
	}
	finish := func() {}
	if d.concurrent {
		blocks := &xzReader{in: br, dec: dec, size: d.size, workers: newWorkers(slowXz)}
		d.dec, finish = blocks, blocks.close
		err = blocks.begin()
	} else {
		d.dec = dec
		err = dec.Reset(br)
	}
	if err != nil {
		return err
	}
	d.close = func(again bool) {
		finish()
		if again && window == usualWindow {
			xzDecoders.Put(dec)
		}
	}
	return nil
}

// takeXz returns a decoder for this window.
func takeXz(window int64) (*xz.Reader, error) {
	if window == usualWindow {
		if dec, ok := xzDecoders.Get().(*xz.Reader); ok {
			return dec, nil
		}
	}
	return xz.NewReader(nil, uint32(window))
}

// reusable reports whether the decoder has read a whole stream, and a small one.
func (d *decompressor) reusable() bool { return d.err == io.EOF && d.out <= maxPooled }
