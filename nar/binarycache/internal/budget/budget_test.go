package budget

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/semaphore"

	"narseal/nar/compression"
)

// Codecs never take more than the budget, and no path waits forever.
func TestTake(t *testing.T) {
	const size = 64 << 20
	m := New(semaphore.NewWeighted(size), size)
	var used, most atomic.Int64
	var all sync.WaitGroup
	for seed := range 50 {
		rng := rand.New(rand.NewPCG(1, uint64(seed)))
		all.Go(func() {
			for range 20 {
				decoder, compressor := rng.Int64N(size), rng.Int64N(2*size)
				release, err := m.Take(t.Context(), decoder, compressor)
				if err != nil {
					t.Error(err)
					return
				}
				n := min(decoder+compressor, size)
				if decoder+compressor <= free {
					n = 0
				}
				now := used.Add(n)
				for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				}
				used.Add(-n)
				release()
			}
		})
	}
	all.Wait()
	if most.Load() > size || most.Load() < size/2 {
		t.Errorf("at most %d bytes were taken, of %d", most.Load(), size)
	}

	if _, err := m.Take(t.Context(), size+1, 0); !errors.Is(err, compression.ErrMemory) {
		t.Errorf("a decoder that needs more than the budget: %v", err)
	}
	small := New(semaphore.NewWeighted(1<<20), 1<<20)
	release, err := small.Take(t.Context(), compression.UsualMemory, 100<<20)
	if err != nil {
		t.Fatalf("a usual decoder in a small budget: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := small.Take(ctx, compression.UsualMemory, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting after the end: %v", err)
	}
	release()
}
