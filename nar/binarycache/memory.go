package binarycache

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/semaphore"

	"narseal/nar/compression"
)

const (
	// defaultMemory is the default of Options.Memory. The largest decoder needs 144 MiB.
	defaultMemory = 256 << 20
	// freeMemory is the memory in bytes that the codecs of a path may use without taking it from the budget.
	freeMemory = 1 << 20
	// usualMemory is the memory in bytes of a decoder with a window of 8 MiB, rounded up. Such a decoder may work even if
	// the whole budget is smaller.
	usualMemory = 16 << 20
)

// memory is the budget of the codecs of all paths in progress. A stream of a few KB can request a window of 128 MiB.
type memory struct {
	budget *semaphore.Weighted // nil: unlimited
	size   int64               // of the budget, in bytes
}

func newMemory(o *Options) memory {
	if o.Memory != nil {
		return memory{o.Memory, o.MemorySize}
	}
	return memory{semaphore.NewWeighted(defaultMemory), defaultMemory}
}

// take waits for the memory of a decoder and a compressor, and returns a function that returns it. They must be taken
// together: paths that hold one of them and wait for the other would wait forever.
func (m memory) take(ctx context.Context, decoder, compressor int64) (release func(), err error) {
	n := decoder + compressor
	if m.budget == nil || n <= freeMemory {
		return func() {}, nil
	}
	if decoder > max(usualMemory, m.size) {
		return func() {}, fmt.Errorf("%w: the decoder needs %d bytes, want at most %d", compression.ErrMemory, decoder, m.size)
	}
	n = min(n, m.size)
	if err := m.budget.Acquire(ctx, n); err != nil {
		return func() {}, err
	}
	return func() { m.budget.Release(n) }, nil
}

// decompress reads a stream that was compressed by this run.
func (m memory) decompress(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	var release func()
	dec, _, err := compression.DecompressWith(r, -1, func(n int64) (err error) {
		release, err = m.take(ctx, n, 0)
		return err
	})
	if err != nil {
		if release != nil {
			release()
		}
		return nil, err
	}
	return &limitedDecoder{dec, release}, nil
}

// A limitedDecoder returns its memory when it is closed.
type limitedDecoder struct {
	io.ReadCloser
	release func()
}

func (d *limitedDecoder) Close() error {
	err := d.ReadCloser.Close()
	d.release()
	return err
}
