// Package budget limits the memory of the decoders and compressors of a run.
package budget

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/semaphore"

	"narseal/nar/compression"
)

const (
	// defaultSize is the size in bytes of a budget that the caller does not give. The largest decoder needs 144 MiB.
	defaultSize = 256 << 20
	// free is the memory in bytes that the codecs of a path may use without taking it from the budget.
	free = 1 << 20
)

// Memory is the budget of the codecs of all paths in progress. A stream of a few KB can request a window of 128 MiB. The
// zero value is unlimited.
type Memory struct {
	budget *semaphore.Weighted // nil: unlimited
	size   int64               // of the budget, in bytes
}

// New returns a budget of size bytes, which other runs may share. If budget is nil, it has 256 MiB of its own.
func New(budget *semaphore.Weighted, size int64) Memory {
	if budget != nil {
		return Memory{budget, size}
	}
	return Memory{semaphore.NewWeighted(defaultSize), defaultSize}
}

// Take waits for the memory of a decoder and a compressor, and returns a function that returns it. They must be taken
// together: paths that hold one of them and wait for the other would wait forever.
func (m Memory) Take(ctx context.Context, decoder, compressor int64) (release func(), err error) {
	n := decoder + compressor
	if m.budget == nil || n <= free {
		return func() {}, nil
	}
	if decoder > max(compression.UsualMemory, m.size) { // a usual decoder may work even if the whole budget is smaller
		return func() {}, fmt.Errorf("%w: the decoder needs %d bytes, want at most %d", compression.ErrMemory, decoder, m.size)
	}
	n = min(n, m.size)
	if err := m.budget.Acquire(ctx, n); err != nil {
		return func() {}, err
	}
	return func() { m.budget.Release(n) }, nil
}

// Decompress reads a stream that was compressed by this run.
func (m Memory) Decompress(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	var release func()
	dec, _, err := compression.DecompressWith(r, -1, func(n int64) (err error) {
		release, err = m.Take(ctx, n, 0)
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
