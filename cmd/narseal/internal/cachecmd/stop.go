package cachecmd

import (
	"context"
	"io"
	"sync"
	"time"

	"narseal/nar/binarycache"
)

const (
	// maxWriteWait is how long the end of the program waits for what is being written to a store, so that nothing
	// half-written stays behind.
	maxWriteWait = 2 * time.Second
	// maxWorkWait is how long it waits for all else, such as compressing, which leaves nothing behind.
	maxWorkWait = 100 * time.Millisecond
)

// writes are the objects that are being written to a store.
type writes struct {
	mu      sync.Mutex
	n       int
	stopped bool
	idle    chan struct{} // closed when the last one ends after stop
}

func (w *writes) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return context.Canceled
	}
	w.n++
	return nil
}

func (w *writes) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n--
	if w.stopped && w.n == 0 {
		close(w.idle)
	}
}

// stop lets no further write begin. It returns a channel that is closed when none goes on.
func (w *writes) stop() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped, w.idle = true, make(chan struct{})
	if w.n == 0 {
		close(w.idle)
	}
	return w.idle
}

// wait waits until ended is closed, or at least until nothing is being written.
func (w *writes) wait(ended <-chan struct{}) {
	idle, deadline := w.stop(), time.After(maxWriteWait)
	select {
	case <-ended:
		return
	case <-deadline:
		return
	case <-idle:
	}
	select {
	case <-ended:
	case <-time.After(maxWorkWait):
	}
}

// store is a Store whose writes are counted.
type store struct {
	binarycache.Store
	writes *writes
}

func (s *store) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if err := s.writes.begin(); err != nil {
		return "", err
	}
	defer s.writes.end()
	return s.Store.Put(ctx, o, body, c)
}

// Clean removes what a run that was killed has left.
func (s *store) Clean(ctx context.Context) error {
	if c, ok := s.Store.(interface{ Clean(context.Context) error }); ok {
		return c.Clean(ctx)
	}
	return nil
}
