package cachecmd

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"narseal/nar/binarycache"
)

const (
	// maxWriteWait limits how long the end of the program waits for writes to a store, so that no partial objects are
	// left behind.
	maxWriteWait = 2 * time.Second
	// maxWorkWait limits how long it waits for other work, such as compression, which leaves nothing behind.
	maxWorkWait = 100 * time.Millisecond
	// maxLedgerWait limits how long it waits for the ledger, which is one large object if it is in S3. What is not in the
	// ledger is done again.
	maxLedgerWait = 10 * time.Second
)

// end waits for what a run is doing when the program ends early, and writes its ledger. ended is closed if the run ends
// meanwhile.
func (r *run) end(ended <-chan struct{}) {
	r.writes.wait(ended)
	closed := make(chan error, 1)
	go func() { closed <- r.ledger.Close() }()
	var err error
	select {
	case err = <-closed:
	case <-time.After(maxLedgerWait):
		err = fmt.Errorf("ledger: not written within %s", maxLedgerWait)
	}
	if err != nil {
		r.Terminal.Warnf("the next run does paths again that this one has finished: %v", err)
	}
}

// writes counts the objects that are being written to a store.
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

// stop prevents further writes. It returns a channel that is closed when no write is in progress.
func (w *writes) stop() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped, w.idle = true, make(chan struct{})
	if w.n == 0 {
		close(w.idle)
	}
	return w.idle
}

// wait waits until ended is closed, but not much longer than writes are in progress, and no longer than maxWriteWait
// for them.
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

// store is a Store that counts its writes, and records access to its narinfos.
type store struct {
	binarycache.Store
	writes *writes
	access *access // nil: nothing is recorded
}

func (s *store) Open(ctx context.Context, name string) (io.ReadCloser, binarycache.Object, error) {
	r, o, err := s.Store.Open(ctx, name)
	s.access.note(name, err)
	return r, o, err
}

func (s *store) Delete(ctx context.Context, name string, c binarycache.Condition) error {
	s.access.deleted(name)
	return s.Store.Delete(ctx, name, c)
}

func (s *store) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if err := s.writes.begin(); err != nil {
		return "", err
	}
	defer s.writes.end()
	return s.Store.Put(ctx, o, body, c)
}

// Clean removes what a killed run left behind.
func (s *store) Clean(ctx context.Context) error {
	if c, ok := s.Store.(interface{ Clean(context.Context) error }); ok {
		return c.Clean(ctx)
	}
	return nil
}
