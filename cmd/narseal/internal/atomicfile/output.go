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

// An Output is the destination of a command's output: a file that appears when it is committed, or a stream.
type Output struct {
	io.Writer
	// Info describes the stream or device that is written to, or the file that is replaced. It is nil if that is
	// unknown or if the file is new.
	Info   fs.FileInfo
	commit func() error
	abort  func()
}

// Commit makes a completely written output appear. It returns errors that the system reports only when the file is
// synced or closed.
func (o *Output) Commit() error { return o.commit() }

// Abort removes a file that was not committed, and leaves the file system as it was. It does nothing after Commit.
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

// Create returns an output that writes the file called name. Commit creates a regular file, or replaces it. If name is
// a symlink, it stays, and Commit replaces its target. A device or a FIFO is written directly.
//
// Create also removes hidden files that killed runs left beside name.
func Create(reg *cleanup.Registry, name string) (*Output, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory", name)
	case !info.Mode().IsRegular():
		// A device or a FIFO cannot be replaced.
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

// create begins the replacement of a file. old describes the present file, if there is one.
func create(reg *cleanup.Registry, name string, old fs.FileInfo) (*Replacement, error) {
	perm := fs.FileMode(0o666)
	if old != nil {
		perm = 0o600 // until keepAccess
	}
	r, err := Replace(reg, name, perm)
	if err != nil {
		return nil, err
	}
	r.dir.removeLeftovers(r.base)
	if old != nil {
		if err := r.keepAccess(name, old); err != nil {
			r.Abort()
			return nil, err
		}
	}
	return r, nil
}

// SameFile reports whether in and out are the same regular file, so that writing out would destroy in. Either may be
// nil.
func SameFile(in, out fs.FileInfo) bool {
	return in != nil && out != nil && in.Mode().IsRegular() && os.SameFile(in, out)
}

// IsClosed reports whether a stream of the program was closed when the program started. Go's runtime then opens the
// null device in its place, for reading and writing (runtime/fds_unix.go). Python's subprocess.DEVNULL and Node's
// "ignore" open it in the same way and cannot be told apart from a closed stream. So do not use IsClosed for a stream
// that callers discard because they want only the exit status, such as a list. A shell's >/dev/null is opened only for
// writing, and does not count as closed.
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

// Temp returns an empty temporary file without a name. Nothing of it remains after the program ends, even if it is
// killed.
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
