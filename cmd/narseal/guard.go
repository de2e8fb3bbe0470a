package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A stopError is a run that ends because of a signal, or because nobody
// reads its output any more: quietly, and as the signal would have ended it.
type stopError struct{ sig syscall.Signal }

func (e *stopError) Error() string { return "stopped by " + e.sig.String() }

// end ends the process by the signal, as shells expect that one who
// interrupts a pipeline did so. SIGPIPE is ignored in favour of EPIPE, so that
// one is told by the status that a shell would show.
func (e *stopError) end() int {
	if e.sig != syscall.SIGPIPE {
		signal.Reset(e.sig)
		if p, err := os.FindProcess(os.Getpid()); err == nil && p.Signal(e.sig) == nil {
			time.Sleep(time.Second) // the signal arrives meanwhile
		}
	}
	return 128 + int(e.sig)
}

// guard runs f, and stops waiting for it when a signal comes or the context
// ends with a cause: f may be in a read that nothing interrupts. What must
// not be left behind is undone by the functions given to atExit.
func guard(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x := &exits{cancel: cancel}
	ctx = context.WithValue(ctx, exitsKey{}, x)

	// Otherwise Go ends the process at once when it writes to a pipe that
	// nobody reads, stderr's too, and nothing is undone.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // as nohup has it
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)

	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var err error
	select {
	case err = <-done:
		if errors.Is(err, syscall.EPIPE) {
			err = &stopError{syscall.SIGPIPE}
		}
	case s := <-signals:
		err = &stopError{s.(syscall.Signal)}
		cancel(err)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	x.run()
	return err
}

type exitsKey struct{}

// exits is what must be undone when the program ends early.
type exits struct {
	cancel context.CancelCauseFunc
	ending atomic.Bool // see end
	mu     sync.Mutex
	ran    bool
	undo   map[int]func()
	next   int
}

func exitsOf(ctx context.Context) *exits {
	x, _ := ctx.Value(exitsKey{}).(*exits)
	return x
}

// readerGone ends the program because nobody reads its output.
func (x *exits) readerGone() {
	if !x.ending.Load() {
		x.cancel(&stopError{syscall.SIGPIPE})
	}
}

// end is called before the end of an archive is written. A reader who has that may
// go, as nix-store does, and has all that there is; of another the write tells.
func (x *exits) end() { x.ending.Store(true) }

// endReader calls end before it returns io.EOF.
type endReader struct {
	io.Reader
	end func()
}

func (r *endReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		r.end()
	}
	return n, err
}

// hold makes something that must not be left behind if the program ends
// early: undo is called then. The function that it returns ends that, after
// last has put the thing in its final place. Both run under one lock with
// the undoing, so that each is done whole or not at all.
func (x *exits) hold(make func() (undo func(), err error)) (release func(last func() error) error, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ran {
		return nil, context.Canceled
	}
	undo, err := make()
	if err != nil {
		return nil, err
	}
	if x.undo == nil {
		x.undo = map[int]func(){}
	}
	id := x.next
	x.next++
	x.undo[id] = undo
	return func(last func() error) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.ran {
			return context.Canceled
		}
		delete(x.undo, id)
		return last()
	}, nil
}

// whole runs f unless the program is ending, and lets it not end meanwhile.
func (x *exits) whole(f func() error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ran {
		return context.Canceled
	}
	return f()
}

func (x *exits) run() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ran = true
	// Like defer: what was made last may need what was made before.
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(x.undo))) {
		x.undo[id]()
	}
}
