package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/cleanup"
)

// A Dir is an open directory in which files are replaced. All operations are relative to the handle: a directory
// that is renamed, or swapped for a symlink, stays the one that was opened.
type Dir struct {
	f        *os.File
	unsynced bool // opened in a way that fsync does not take
}

// OpenDir opens the directory called name.
func OpenDir(name string) (*Dir, error) {
	open := func(flags int) (int, error) {
		return retry(func() (int, error) { return unix.Open(name, flags|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	}
	fd, err := open(unix.O_RDONLY)
	searched := err == unix.EACCES && searchOnly != 0
	if searched {
		fd, err = open(searchOnly)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return &Dir{os.NewFile(uintptr(fd), name), searched}, nil
}

// NewDir returns a Dir for an open directory, which may be one that can be searched but not read.
func NewDir(f *os.File) *Dir {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return &Dir{f, err == nil && searchOnly != 0 && flags&searchOnly == searchOnly}
}

// Close closes the directory.
func (d *Dir) Close() error { return d.f.Close() }

func (d *Dir) fd() int { return int(d.f.Fd()) }

// fsync is a variable for the tests.
var fsync = (*os.File).Sync

// SetModTime sets the directory's modification time, and leaves its access time.
func (d *Dir) SetModTime(t unix.Timespec) error {
	if err := unix.UtimesNanoAt(d.fd(), ".", []unix.Timespec{{Nsec: utimeOmit}, t}, 0); err != nil {
		return &os.PathError{Op: "utimensat", Path: d.f.Name(), Err: err}
	}
	return nil
}

// Sync makes the names in the directory durable. It is no error if the file system cannot sync directories.
func (d *Dir) Sync() error {
	if d.unsynced {
		return nil
	}
	err := fsync(d.f)
	for _, unsupported := range []error{unix.EINVAL, unix.ENOTSUP, unix.EOPNOTSUPP} {
		if errors.Is(err, unsupported) {
			return nil
		}
	}
	return err
}

// A Replacement is a new file that takes the place of another one, or gets its name, when it is committed. Until then
// it has no name where the system has such files, else a hidden one that ends with the program.
type Replacement struct {
	*os.File
	// Check, if not nil, is called just before the file takes its place, which it does not if there is an error.
	Check   func() error
	dir     *Dir
	ownsDir bool
	base    string
	reg     *cleanup.Registry
	hidden  string // empty: the file has no name
	release func(last func() error) error
	done    bool
}

// Replace is [Dir.Replace] for the file called name.
func Replace(reg *cleanup.Registry, name string, perm fs.FileMode) (*Replacement, error) {
	dir, err := OpenDir(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	r, err := dir.Replace(reg, filepath.Base(name), perm)
	if err != nil {
		dir.Close()
		return nil, err
	}
	r.ownsDir = true
	return r, nil
}

// Replace makes an empty file, with the permissions perm less the umask, that takes the place of base in the
// directory when it is committed. The directory must stay open until then.
func (d *Dir) Replace(reg *cleanup.Registry, base string, perm fs.FileMode) (*Replacement, error) {
	f, err := openUnnamed(d.fd(), ".", perm)
	switch {
	case err == nil:
		return &Replacement{File: f, dir: d, base: base, reg: reg}, nil
	case errors.Is(err, errors.ErrUnsupported):
		return d.replaceNamed(reg, base, perm)
	}
	if failed := (*os.PathError)(nil); errors.As(err, &failed) {
		failed.Path = d.f.Name()
	}
	return nil, err
}

// replaceNamed is Replace by way of a hidden file.
func (d *Dir) replaceNamed(reg *cleanup.Registry, base string, perm fs.FileMode) (*Replacement, error) {
	r := &Replacement{dir: d, base: base, reg: reg}
	var err error
	r.release, err = reg.Hold(func() (undo func(), err error) {
		r.File, r.hidden, err = d.createHidden(base, perm)
		return func() { d.remove(r.hidden) }, err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// SetModTime sets the modification time of a file that was not committed yet, and leaves its access time.
func (r *Replacement) SetModTime(t unix.Timespec) error {
	dir, name, flags := r.dir.fd(), r.hidden, unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		dir, name, flags = unix.AT_FDCWD, procPath(r.File), 0
	}
	if err := unix.UtimesNanoAt(dir, name, []unix.Timespec{{Nsec: utimeOmit}, t}, flags); err != nil {
		return &os.PathError{Op: "utimensat", Path: r.dir.path(r.base), Err: err}
	}
	return nil
}

// Commit makes the file durable, puts it into its place and closes it. If it fails, Abort must still be called.
func (r *Replacement) Commit() error {
	if err := r.Sync(); err != nil {
		return err
	}
	var err error
	if r.hidden != "" {
		err = r.release(func() error {
			if r.Check != nil {
				if err := r.Check(); err != nil {
					return err
				}
			}
			return r.dir.rename(r.hidden, r.base)
		})
	} else {
		err = r.reg.Atomic(func() error { return r.dir.linkUnnamed(r.File, r.base, r.Check) })
	}
	if err != nil {
		return err
	}
	r.done = true
	// Not before: closing the file gives up the lock on its hidden name.
	err = r.Close()
	if err == nil {
		err = r.dir.Sync()
	}
	r.closeDir()
	return err
}

// Abort removes the file. It does nothing after Commit.
func (r *Replacement) Abort() {
	if r.done {
		return
	}
	r.done = true
	if r.hidden != "" {
		_ = r.release(func() error { r.dir.remove(r.hidden); return nil })
	}
	r.Close()
	r.closeDir()
}

func (r *Replacement) closeDir() {
	if r.ownsDir {
		r.dir.Close()
	}
}

// linkUnnamed gives a file without a name the name base, and takes that away from the file that has it.
// If there is a check, it takes the name only from a file.
func (d *Dir) linkUnnamed(f *os.File, base string, check func() error) error {
	err := fs.ErrExist
	if check == nil {
		err = linkUnnamed(f, d.fd(), base)
	}
	if errors.Is(err, fs.ErrExist) {
		// No call replaces a file by one without a name.
		lock(f)
		return d.swap(base, func(string) error {
			if check == nil {
				return nil
			}
			return check()
		}, func(hidden string) error { return linkUnnamed(f, d.fd(), hidden) })
	}
	if err != nil {
		return &os.PathError{Op: "link", Path: d.path(base), Err: err}
	}
	return nil
}

// Link makes base in the directory d another name of the file that is called target in the directory from, and takes
// base away from the file that has it. Just before that it calls check, with a hidden name in d that the file has then,
// and leaves things as they were if that fails.
func (d *Dir) Link(reg *cleanup.Registry, base string, from *Dir, target string, check func(hidden string) error) error {
	fd, err := from.open(target, unix.O_RDONLY)
	if err == nil {
		defer unix.Close(fd)
		_ = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) // keeps others from removing the hidden name
	}
	err = reg.Atomic(func() error {
		return d.swap(base, check, func(hidden string) error {
			return unix.Linkat(from.fd(), target, d.fd(), hidden, 0)
		})
	})
	if err != nil {
		return err
	}
	return d.Sync()
}

// swap has link give a file a hidden name, and then renames that to base if check, unless it is nil, allows it.
func (d *Dir) swap(base string, check, link func(hidden string) error) error {
	hidden, err := d.claim(base, link)
	if err != nil {
		return &os.PathError{Op: "link", Path: d.path(hidden), Err: err}
	}
	if check != nil {
		err = check(hidden)
	}
	if err == nil {
		err = d.rename(hidden, base)
	}
	if err != nil {
		d.remove(hidden)
	}
	return err
}

func (d *Dir) rename(from, to string) error {
	if err := unix.Renameat(d.fd(), from, d.fd(), to); err != nil {
		return &os.LinkError{Op: "rename", Old: d.path(from), New: d.path(to), Err: err}
	}
	return nil
}

func (d *Dir) remove(base string) { _ = unix.Unlinkat(d.fd(), base, 0) }

func (d *Dir) path(base string) string { return filepath.Join(d.f.Name(), base) }

// open opens a file in the directory. It follows no symlink and waits for nobody.
func (d *Dir) open(base string, flags int) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(d.fd(), base, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
}

// retry calls a system call until no signal interrupts it.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
