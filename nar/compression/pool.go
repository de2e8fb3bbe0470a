package compression

import (
	"bufio"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// maxPooled is the maximum output, in bytes, of a decoder that is reused. After more output, a decoder holds more
// memory than reuse is worth.
const maxPooled = 1 << 20

// Pools of closed decoders with the usual and with the smallest window. For a stream of a few KB, creating a decoder
// takes longer than decoding: xz allocates a dictionary of 8 MiB.
var (
	zstdDecoders, smallZstdDecoders sync.Pool // of *zstd.Decoder
	xzDecoders, smallXzDecoders     sync.Pool // of *xz.Reader
)

// poolOf returns the pool for a window, or nil if there is none.
func poolOf(window int64, usual, small *sync.Pool) *sync.Pool {
	switch window {
	case usualWindow:
		return usual
	case freeWindow:
		return small
	}
	return nil
}

// openZstd makes d decode zstd from br.
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
		pool := poolOf(window, &zstdDecoders, &smallZstdDecoders)
		if !again || pool == nil || dec.Reset(nil) != nil {
			dec.Close()
			return
		}
		pool.Put(dec)
	}
	return nil
}

// takeZstd returns a decoder for this window.
func takeZstd(window int64) (*zstd.Decoder, error) {
	if pool := poolOf(window, &zstdDecoders, &smallZstdDecoders); pool != nil {
		if dec, ok := pool.Get().(*zstd.Decoder); ok {
			return dec, nil
		}
	}
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(uint64(window)), zstd.WithDecoderMaxMemory(uint64(window)))
}

// openXz makes d decode xz from br.
func (d *decompressor) openXz(br *bufio.Reader, window int64) error {
	dec, err := takeXz(window)
	if err != nil {
		return err
	}
	finish := func() {}
	if d.concurrent || d.serial {
		blocks := &xzReader{in: br, dec: dec, size: d.size, workers: newWorkers(slowXz)}
		blocks.workers.slow = d.serial
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
		if pool := poolOf(window, &xzDecoders, &smallXzDecoders); again && pool != nil {
			pool.Put(dec)
		}
	}
	return nil
}

// takeXz returns a decoder for this window.
func takeXz(window int64) (*xz.Reader, error) {
	if pool := poolOf(window, &xzDecoders, &smallXzDecoders); pool != nil {
		if dec, ok := pool.Get().(*xz.Reader); ok {
			return dec, nil
		}
	}
	return xz.NewReader(nil, uint32(window))
}

// reusable reports whether the decoder has read only a small stream, complete or damaged.
func (d *decompressor) reusable() bool { return d.out <= maxPooled }
