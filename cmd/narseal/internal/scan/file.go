package scan

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

// A File is a regular file on disk, open for reading. It is a macho.Image that cannot be written.
type File struct {
	*os.File
	Entry *Entry
	Inode unix.Stat_t // when it was opened
}

// State identifies a file and its contents. It changes if either of them changes.
type State struct {
	id           FileID
	size         int64
	mtime, ctime unix.Timespec
}

// StateOf returns the state in the result of a stat.
func StateOf(st *unix.Stat_t) State { return State{IDOf(st), st.Size, st.Mtim, st.Ctim} }

// errNotRegular means that a name is no longer a regular file.
var errNotRegular = errors.New("not a regular file")

// Open opens the entry, which must be a regular file. It follows no symlink, and does not block if the entry has become
// a FIFO or a device.
func (e *Entry) Open() (*File, error) {
	dir, err := e.Dir.Hold()
	if err != nil {
		return nil, err
	}
	defer e.Dir.Release()
	fd, err := openat(int(dir.Fd()), e.Name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err == unix.ELOOP || err == unix.ENXIO {
		err = errNotRegular // it has become a symlink, a socket or a FIFO
	}
	if err != nil {
		return nil, e.failed("open", err)
	}
	f := &File{Entry: e}
	if err := unix.Fstat(fd, &f.Inode); err != nil {
		unix.Close(fd)
		return nil, e.failed("stat", err)
	}
	if f.Inode.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, e.failed("open", errNotRegular)
	}
	f.File = os.NewFile(uintptr(fd), e.Path().Short())
	return f, nil
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Path returns the file's path as the user would write it.
func (f *File) Path() nar.Path { return f.Entry.Path() }

// Size returns the size of the file when it was opened.
func (f *File) Size() int64 { return f.Inode.Size }

// WriteAt returns an error: files are replaced, never written.
func (f *File) WriteAt([]byte, int64) (int, error) {
	return 0, f.Entry.failed("write", os.ErrPermission)
}

// Unchanged returns an error if the file changed since it was opened. If it returns nil, everything that was read until
// now is consistent.
func (f *File) Unchanged() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if StateOf(&st) != StateOf(&f.Inode) {
		return errors.New("the file changed while it was read")
	}
	return nil
}

// Wrap adds the file's path to an error.
func (f *File) Wrap(err error) error { return fmt.Errorf("%s: %w", f.Path().Short(), err) }

// Verifier returns an Examine function for a Scanner that verifies the image. With locate, the reports also describe
// the locations of stale pages.
func Verifier(locate bool) func(f *File, cfg macho.Config) (*macho.Report, error) {
	return func(f *File, cfg macho.Config) (*macho.Report, error) {
		found, err := cfg.Verify(f)
		if err == nil && locate {
			if err = found.Locate(f); err == nil {
				err = filter.NoteStorePaths(found, f)
			}
		}
		if err == nil {
			err = f.Unchanged()
		}
		if err != nil {
			return nil, f.Wrap(err)
		}
		return found, nil
	}
}

// probe reports whether a file has a signature, well-formed or not. For an image without one, it returns the prefix
// that macho.UnsignedSlices needs.
func (f *File) probe(buf []byte) (signed bool, prefix []byte, err error) {
	size := f.Size()
	prefix, err = f.prefix(buf, MachOPrefix)
	if err != nil || !macho.IsMachO(prefix) {
		return false, nil, err
	}
	for need := int64(loadCommands); ; {
		if need > maxProbe {
			return true, nil, nil // Verify decides
		}
		if prefix, err = f.prefix(buf, need); err != nil {
			return false, nil, err
		}
		var v macho.Verdict
		if v, need = macho.Probe(prefix, size); v != macho.NeedMore {
			return v == macho.Signed, prefix, nil
		}
		if need <= int64(len(prefix)) {
			return true, nil, nil
		}
	}
}

const (
	// MachOPrefix is the number of bytes that macho.IsMachO needs to tell an image from a Java class.
	MachOPrefix  = 4096
	loadCommands = 16 << 10 // enough for nearly every image
	maxProbe     = 4 << 20
)

// prefix reads the first n bytes of the file, or the whole file if it is shorter. It uses buf if they fit.
func (f *File) prefix(buf []byte, n int64) ([]byte, error) {
	n = min(n, f.Size())
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	m, err := f.ReadAt(buf[:n], 0)
	if int64(m) == n {
		return buf[:n], nil
	}
	if err == io.EOF {
		err = fmt.Errorf("read %s: offset %d: %w", f.Path().Short(), m, io.ErrUnexpectedEOF)
	}
	return nil, err
}

// Kind returns "directory" for a directory, "file" for a Mach-O image, and "" for everything else.
func Kind(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", withoutPath(err)
	}
	switch {
	case info.IsDir():
		return "directory", nil
	case !info.Mode().IsRegular():
		return "", nil
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", withoutPath(err)
	}
	defer f.Close()
	prefix := make([]byte, MachOPrefix)
	n, err := io.ReadFull(f, prefix)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", withoutPath(err)
	}
	if macho.IsMachO(prefix[:n]) {
		return "file", nil
	}
	return "", nil
}

// withoutPath removes the path from an error, for messages that already contain it.
func withoutPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}
