// Package codecs limits the memory of the decoders and compressors that work at the same time.
package codecs

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/semaphore"

	"narseal/nar/compression"
)

const (
	// defaultSize is the default size of a Memory in bytes. The largest decoder needs 144 MiB.
	defaultSize = 256 << 20
	// freeMemory is the memory in bytes that the codecs of a path may use without taking it from the budget.
	freeMemory = 1 << 20
	// usualMemory is the memory in bytes of a decoder with a window of 8 MiB, rounded up. Such a decoder may work even if
	// the whole budget is smaller.
	usualMemory = 16 << 20
)

// Memory is the memory of the codecs of all paths in progress. A stream of a few KB can request a window of 128 MiB. The
// zero Memory is unlimited.
type Memory struct {
	budget *semaphore.Weighted
	size   int64 // of the budget, in bytes
}

// New returns the Memory of a budget of size bytes, or of a new one if budget is nil.
func New(budget *semaphore.Weighted, size int64) Memory {
	if budget == nil {
		return Memory{semaphore.NewWeighted(defaultSize), defaultSize}
	}
	return Memory{budget, size}
}

// Take waits for the memory of a decoder and a compressor, and returns a function that returns it. They must be taken
// together: paths that hold one of them and wait for the other would wait forever.
func (m Memory) Take(ctx context.Context, decoding, compressing int64) (release func(), err error) {
	n := decoding + compressing
	if m.budget == nil || n <= freeMemory {
		return func() {}, nil
	}
	if decoding > max(usualMemory, m.size) {
		return func() {}, fmt.Errorf("%w: the decoder needs %d bytes, want at most %d", compression.ErrMemory, decoding, m.size)
	}
	n = min(n, m.size)
	if err := m.budget.Acquire(ctx, n); err != nil {
		return func() {}, err
	}
	return func() { m.budget.Release(n) }, nil
}

// Decompress reads a stream that this run has compressed.
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
	return &decoder{dec, release}, nil
}

// A decoder returns its memory when it is closed.
type decoder struct {
	io.ReadCloser
	release func()
}

func (d *decoder) Close() error {
	err := d.ReadCloser.Close()
	d.release()
	return err
}
