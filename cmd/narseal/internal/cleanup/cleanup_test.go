package cleanup

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is held when the run ends is undone, the newest first; what was released is not.
func TestRunUndoes(t *testing.T) {
	var undone []string
	err := Run(t.Context(), func(_ context.Context, reg *Registry) error {
		for _, name := range []string{"a", "b", "c"} {
			release, err := reg.Hold(func() (func(), error) { return func() { undone = append(undone, name) }, nil })
			if err != nil {
				return err
			}
			if name == "b" {
				if err := release(func() error { return nil }); err != nil {
					return err
				}
			}
		}
		if _, err := reg.Hold(func() (func(), error) { return nil, io.ErrShortWrite }); err != io.ErrShortWrite {
			t.Errorf("%v, want the error of create", err)
		}
		return io.EOF
	})
	if err != io.EOF {
		t.Errorf("%v, want the error of the function", err)
	}
	if want := []string{"c", "a"}; !slices.Equal(undone, want) {
		t.Errorf("undone are %q, want %q", undone, want)
	}
}

// A run that stands still ends by its context, a signal, or because the reader of its output goes away. After that
// nothing can be held or put in place any more.
func TestRunEndsEarly(t *testing.T) {
	cause := errors.New("cause")
	for name, test := range map[string]struct {
		stop func(cancel context.CancelCauseFunc, reader *os.File)
		want error
	}{
		"context": {func(cancel context.CancelCauseFunc, _ *os.File) { cancel(cause) }, cause},
		"signal": {func(context.CancelCauseFunc, *os.File) { syscall.Kill(os.Getpid(), syscall.SIGTERM) },
			&StopError{Signal: syscall.SIGTERM}},
		"reader": {func(_ context.CancelCauseFunc, reader *os.File) { reader.Close() }, &StopError{Signal: syscall.SIGPIPE}},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		type held struct {
			registry *Registry
			release  func(func() error) error
		}
		begun, ended := make(chan held, 1), make(chan struct{})
		undone := false
		err = Run(ctx, func(_ context.Context, reg *Registry) error {
			reg.WatchReader(w)
			release, err := reg.Hold(func() (func(), error) { return func() { undone = true }, nil })
			if err != nil {
				return err
			}
			begun <- held{reg, release}
			test.stop(cancel, r)
			<-ended // as if in a read that nothing interrupts
			return nil
		})
		close(ended)
		var stop, want *StopError
		if errors.As(test.want, &want) {
			if !errors.As(err, &stop) || stop.Signal != want.Signal {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		} else if err != test.want {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if !undone {
			t.Errorf("%s: nothing was undone", name)
		}
		h := <-begun
		called := func() error { t.Errorf("%s: something is done after the end", name); return nil }
		if err := h.release(called); err != context.Canceled {
			t.Errorf("%s: release returns %v", name, err)
		}
		if err := h.registry.Atomic(called); err != context.Canceled {
			t.Errorf("%s: Atomic returns %v", name, err)
		}
		if _, err := h.registry.Hold(func() (func(), error) { return nil, called() }); err != context.Canceled {
			t.Errorf("%s: Hold returns %v", name, err)
		}
		r.Close()
	}
}

// A reader that has the whole output may go away. A write that fails with EPIPE ends the run quietly all the same.
func TestOutputComplete(t *testing.T) {
	err := Run(t.Context(), func(ctx context.Context, reg *Registry) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer w.Close()
		reg.WatchReader(w)
		if _, err := io.Copy(io.Discard, reg.CompleteAtEOF(strings.NewReader("x"))); err != nil {
			return err
		}
		r.Close()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
			return nil
		}
	})
	if err != nil {
		t.Error(err)
	}
	err = Run(t.Context(), func(context.Context, *Registry) error {
		return &os.PathError{Op: "write", Path: "stdout", Err: syscall.EPIPE}
	})
	if stop := (*StopError)(nil); !errors.As(err, &stop) || stop.Signal != syscall.SIGPIPE || stop.End() != 128+int(syscall.SIGPIPE) {
		t.Errorf("%v, want SIGPIPE", err)
	}
}

// A nil registry holds nothing, and runs what it is given.
func TestNilRegistry(t *testing.T) {
	var reg *Registry
	calls := 0
	call := func() error { calls++; return nil }
	release, err := reg.Hold(func() (func(), error) { return nil, call() })
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(release(call), reg.Atomic(call)); err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	if _, err := reg.Hold(func() (func(), error) { return nil, io.EOF }); err != io.EOF {
		t.Errorf("%v, want the error of create", err)
	}
	reg.WatchReader(os.Stdout)
	reg.OutputComplete()
	if b, err := io.ReadAll(reg.CompleteAtEOF(strings.NewReader("x"))); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}
