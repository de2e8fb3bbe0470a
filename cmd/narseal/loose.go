package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"narseal/macho"
)

// looseFile is a regular file outside of any archive, open for reading. It is
// a macho.Image that cannot be written.
type looseFile struct {
	*os.File
	path  string // for people
	stat  unix.Stat_t
	state fileState
}

// fileState is what of a file's inode tells that it is the same file with the
// same contents.
type fileState struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

func stateOf(st *unix.Stat_t) fileState {
	return fileState{uint64(st.Dev), uint64(st.Ino), st.Size, st.Mtim, st.Ctim}
}

// errNotRegular is a name that turned out to be something else than a file.
var errNotRegular = errors.New("not a regular file")

// openLoose opens a regular file, which is called path in errors. It follows
// no symlink in the last element of its name, and waits for nobody where that
// is a FIFO or a device.
func openLoose(name, path string) (*looseFile, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err == unix.ELOOP || err == unix.ENXIO {
		err = errNotRegular // a symlink, a socket or a FIFO by now
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	return &looseFile{os.NewFile(uintptr(fd), name), path, st, stateOf(&st)}, nil
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Size is that of the file when it was opened.
func (f *looseFile) Size() int64 { return f.state.size }

// WriteAt refuses: loose files are replaced, never written.
func (f *looseFile) WriteAt([]byte, int64) (int, error) {
	return 0, &os.PathError{Op: "write", Path: f.path, Err: os.ErrPermission}
}

// unchanged is an error if the file changed since it was opened. What was
// read from it until now is of one state only if it is nil.
func (f *looseFile) unchanged() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if stateOf(&st) != f.state {
		return errors.New("the file changed while it was read")
	}
	return nil
}

// probe tells whether a file has a signature, be it well-formed or not.
func (f *looseFile) probe(buf []byte) (signed bool, err error) {
	size := f.Size()
	prefix, err := f.prefix(buf, 8)
	if err != nil || !macho.IsMachO(prefix) {
		return false, err
	}
	for need := int64(loadCommands); ; {
		if need > maxProbe {
			return true, nil // to be looked at, whatever it is
		}
		if prefix, err = f.prefix(buf, need); err != nil {
			return false, err
		}
		var v macho.Verdict
		if v, need = macho.Probe(prefix, size); v != macho.NeedMore {
			return v == macho.Signed, nil
		}
		if need <= int64(len(prefix)) {
			return true, nil
		}
	}
}

const (
	loadCommands = 16 << 10 // covers those of nearly every image
	maxProbe     = 4 << 20
)

// prefix reads the first n bytes of the file, or all if it has fewer, into
// buf where they fit.
func (f *looseFile) prefix(buf []byte, n int64) ([]byte, error) {
	n = min(n, f.Size())
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	m, err := f.ReadAt(buf[:n], 0)
	if int64(m) == n {
		return buf[:n], nil
	}
	if err == io.EOF {
		err = fmt.Errorf("read %s: offset %d: %w", f.path, m, io.ErrUnexpectedEOF)
	}
	return nil, err
}
