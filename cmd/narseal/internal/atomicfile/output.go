// Package atomicfile writes files that appear only when they are complete, and temporary files without a name.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/cleanup"
	"narseal/cmd/narseal/internal/pipe"
)

// An Output is where a command writes: a file that appears when it is committed, or a stream.
type Output struct {
	io.Writer
	// Info describes what is written to, or what a file replaces. It is nil where that is unknown or new.
	Info   fs.FileInfo
	commit func() error
	abort  func()
}

// Commit makes the output appear after all of it was written, and reports what the system says of it when it is
// closed.
func (o *Output) Commit() error { return o.commit() }

// Abort leaves things as they were: it removes a file that was not committed. It does nothing after Commit.
func (o *Output) Abort() { o.abort() }

// Stream returns an output that writes to w, a stream of the program such as stdout.
func Stream(reg *cleanup.Registry, w io.Writer) *Output {
	o := &Output{Writer: w, commit: func() error { return nil }, abort: func() {}}
	if f, ok := w.(*os.File); ok {
		o.Info, _ = f.Stat()
		if o.Info != nil && o.Info.Mode().IsRegular() {
			o.commit = f.Close // some file systems report a failed write only now
		}
		pipe.Enlarge(f)
		reg.WatchReader(f)
	}
	return o
}

// Create returns an output that writes the file called name. A regular file, or none, is replaced when the output is
// committed; a symlink stays, and what it points to is replaced. A device or a FIFO is written at once.
//
// Create also removes hidden files beside name that a run left behind because it was killed.
func Create(reg *cleanup.Registry, name string) (*Output, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory", name)
	case !info.Mode().IsRegular():
		// A device or a FIFO cannot be replaced, only written.
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		pipe.Enlarge(f)
		reg.WatchReader(f)
		return &Output{Writer: f, Info: info, commit: f.Close, abort: func() { f.Close() }}, nil
	default:
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return nil, err
		}
	}
	r, err := create(reg, name, info)
	if err != nil {
		return nil, err
	}
	return &Output{Writer: r.File, Info: info, commit: r.Commit, abort: r.Abort}, nil
}

// create begins the replacement of a file, which old describes if it exists.
func create(reg *cleanup.Registry, name string, old fs.FileInfo) (*Replacement, error) {
	perm := fs.FileMode(0o666)
	if old != nil {
		perm = old.Mode().Perm()
	}
	r, err := Replace(reg, name, perm)
	if err != nil {
		return nil, err
	}
	r.dir.removeLeftovers(r.base)
	if old != nil {
		// The umask does not apply to a file that existed before.
		if err := r.Chmod(perm); err != nil {
			r.Abort()
			return nil, err
		}
	}
	return r, nil
}

// SameFile reports whether in and out are one regular file, so that writing out would destroy in. Either may be nil.
func SameFile(in, out fs.FileInfo) bool {
	return in != nil && out != nil && in.Mode().IsRegular() && os.SameFile(in, out)
}

// IsClosed reports whether a stream of the program was closed when the program started. Go's runtime then opens the
// null device in its place, for reading and writing (runtime/fds_unix.go). Python's subprocess.DEVNULL and "ignore" of
// Node do that, too, and nothing tells them apart. Use IsClosed only where nobody discards the stream for the sake of the
// exit status, as they do with lists. A shell's >/dev/null is for writing.
func IsClosed(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Is(err, unix.EBADF)
	}
	null, err := os.Stat(os.DevNull)
	if err != nil || !os.SameFile(info, null) {
		return false
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR
}

// Temp returns an empty temporary file that has no name, so that nothing is left of it however the program ends.
func Temp(reg *cleanup.Registry) (*os.File, error) {
	f, err := openUnnamed(unix.AT_FDCWD, os.TempDir(), 0o600)
	if !errors.Is(err, errors.ErrUnsupported) {
		return f, err
	}
	err = reg.Atomic(func() error {
		if f, err = os.CreateTemp("", "narseal-"); err != nil {
			return err
		}
		if err := os.Remove(f.Name()); err != nil {
			f.Close()
			return fmt.Errorf("unlink: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}
