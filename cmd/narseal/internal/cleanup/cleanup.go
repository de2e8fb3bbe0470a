// Package cleanup ends the program early, on a signal or when the reader of its output goes away. Before that, it
// removes hidden files and undoes other temporary changes, such as directories made writable.
package cleanup

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

	"narseal/cmd/narseal/internal/pipe"
)

// A StopError is the error of a run that a signal ended, or that ended because the reader of its output went away. It
// is not reported, because the user caused it.
type StopError struct {
	Signal syscall.Signal
	state  func() string
}

func (e *StopError) Error() string { return "stopped by " + e.Signal.String() }

// End sends the signal to the process itself, so that the parent, such as a shell, sees why it ended. If the process
// survives, or the signal is SIGPIPE, which is ignored in favor of EPIPE, End returns the exit status that a shell uses
// for the signal.
func (e *StopError) End() int {
	if e.Signal != syscall.SIGPIPE {
		signal.Reset(e.Signal)
		if p, err := os.FindProcess(os.Getpid()); err == nil && p.Signal(e.Signal) == nil {
			time.Sleep(time.Second) // the signal arrives meanwhile
		}
	}
	return 128 + int(e.Signal)
}

// State describes to the user what a stopped run left behind. It is empty if OnStop was not called.
func (e *StopError) State() string {
	if e.state == nil {
		return ""
	}
	return e.state()
}

// Run calls f and returns its error. It stops waiting for f when SIGINT, SIGTERM or SIGHUP arrives, when the reader of
// the output goes away, or when ctx ends, because f may be in a read that cannot be interrupted. Before Run returns, it
// undoes everything that f registered.
func Run(ctx context.Context, f func(context.Context, *Registry) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &Registry{cancel: cancel}

	// By default, Go ends a process that writes to a closed pipe on stdout or stderr, and nothing would be undone.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // nohup ignores SIGHUP
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)

	done := make(chan error, 1)
	go func() { done <- f(ctx, r) }()
	var err error
	select {
	case err = <-done:
		if errors.Is(err, syscall.EPIPE) {
			err = &StopError{Signal: syscall.SIGPIPE}
		}
	case s := <-signals:
		err = &StopError{Signal: s.(syscall.Signal), state: r.describe}
		cancel(err)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.undoAll()
	return err
}

// A Registry records what must be undone when the program ends early. A nil Registry records nothing, but its methods
// still call their arguments. Several goroutines may call the methods at the same time.
type Registry struct {
	cancel   context.CancelCauseFunc
	complete atomic.Bool // see OutputComplete
	state    atomic.Pointer[func() string]

	mu    sync.Mutex
	ended bool
	undo  map[int]func()
	next  int
}

// Hold calls create, which creates something that must not be left behind. If the program ends early, the undo function
// that create returns is called. The returned release function cancels this and calls last, which moves the thing to
// its final place or removes it. Only one of these functions runs at a time, so each is done completely or not at all.
// After the program has ended, Hold and release return [context.Canceled] and call nothing.
func (r *Registry) Hold(create func() (undo func(), err error)) (release func(last func() error) error, err error) {
	if r == nil {
		if _, err := create(); err != nil {
			return nil, err
		}
		return func(last func() error) error { return last() }, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil, context.Canceled
	}
	undo, err := create()
	if err != nil {
		return nil, err
	}
	if r.undo == nil {
		r.undo = map[int]func(){}
	}
	id := r.next
	r.next++
	r.undo[id] = undo
	return func(last func() error) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.ended {
			return context.Canceled
		}
		delete(r.undo, id)
		return last()
	}, nil
}

// Atomic calls f, and delays the end of the program until f returns. After the program has ended, it returns
// [context.Canceled] and does not call f.
func (r *Registry) Atomic(f func() error) error {
	if r == nil {
		return f()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return context.Canceled
	}
	return f()
}

// OnStop sets the function that describes to the user what a run leaves behind if a signal ends the program. It is
// called after everything is undone, while the run's goroutines may still be running.
func (r *Registry) OnStop(describe func() string) {
	if r != nil {
		r.state.Store(&describe)
	}
}

func (r *Registry) describe() string {
	if f := r.state.Load(); f != nil {
		return (*f)()
	}
	return ""
}

// WatchReader ends the program when the reader of the pipe f goes away, see [pipe.WatchReader].
func (r *Registry) WatchReader(f *os.File) {
	if r == nil {
		return
	}
	pipe.WatchReader(f, func() {
		if !r.complete.Load() {
			r.cancel(&StopError{Signal: syscall.SIGPIPE})
		}
	})
}

// OutputComplete must be called before the end of an archive is written. After that, a reader such as nix-store may go
// away without ending the program. If it goes away earlier, the write fails.
func (r *Registry) OutputComplete() {
	if r != nil {
		r.complete.Store(true)
	}
}

// CompleteAtEOF returns a reader that reads from src and calls OutputComplete before it returns io.EOF.
func (r *Registry) CompleteAtEOF(src io.Reader) io.Reader { return &eofReader{src, r} }

type eofReader struct {
	io.Reader
	registry *Registry
}

func (e *eofReader) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err == io.EOF {
		e.registry.OutputComplete()
	}
	return n, err
}

// undoAll undoes everything in the registry, the newest first, since newer entries may depend on older ones.
func (r *Registry) undoAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(r.undo))) {
		r.undo[id]()
	}
}
