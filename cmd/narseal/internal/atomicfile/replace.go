package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/cleanup"
)

// A Dir is an open directory in which files are replaced. All operations are relative to its handle, so they stay in
// the directory that was opened even if it is renamed or a symlink takes its place.
type Dir struct {
	f        *os.File
	unsynced bool // opened with searchOnly: fsync would fail
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

// NewDir returns a Dir for an open directory. The directory may have been opened for searching only.
func NewDir(f *os.File) *Dir {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return &Dir{f, err == nil && searchOnly != 0 && flags&searchOnly == searchOnly}
}

// Close closes the directory.
func (d *Dir) Close() error { return d.f.Close() }

func (d *Dir) fd() int { return int(d.f.Fd()) }

// fsync is a variable so that tests can replace it.
var fsync = (*os.File).Sync

// SetModTime sets the directory's modification time, but not its access time.
func (d *Dir) SetModTime(t unix.Timespec) error {
	if err := unix.UtimesNanoAt(d.fd(), ".", []unix.Timespec{{Nsec: utimeOmit}, t}, 0); err != nil {
		return &os.PathError{Op: "utimensat", Path: d.f.Name(), Err: err}
	}
	return nil
}

// Sync makes the names in the directory durable. It returns nil if the file system cannot sync directories.
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

// A Replacement is a new file that gets its name when it is committed, and replaces the file of that name, if any.
// Until then it has no name, or, where the system does not support that, a hidden name that is removed when the program
// ends.
type Replacement struct {
	*os.File
	// Check, if not nil, is called just before the file gets its name. If it returns an error, Commit fails.
	Check   func() error
	dir     *Dir
	ownsDir bool
	base    string
	reg     *cleanup.Registry
	hidden  string // empty if the file has no name
	release func(last func() error) error
	done    bool
}

// Replace calls [Dir.Replace] for the file called name, in its directory.
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

// Replace creates an empty file with the permissions perm, less the umask. When it is committed, it replaces the file
// called base in the directory. The directory must stay open until then.
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

// replaceNamed implements Replace with a hidden file.
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

// SetModTime sets the modification time of a file that is not yet committed, but not its access time.
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

// Commit makes the file durable, gives it its name and closes it. If it fails, Abort must still be called.
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

// linkUnnamed gives an unnamed file the name base, replacing the file that has it. It calls check, unless it is nil,
// just before.
func (d *Dir) linkUnnamed(f *os.File, base string, check func() error) error {
	err := fs.ErrExist
	if check == nil {
		err = linkUnnamed(f, d.fd(), base)
	}
	if errors.Is(err, fs.ErrExist) {
		// No system call replaces a file with an unnamed one, so the unnamed file gets a hidden name first.
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

// Link makes base in d a hard link to the file called target in from, replacing the file that is called base. Just
// before that, it calls check with a hidden name in d that already links to the file. If check fails, Link changes
// nothing.
func (d *Dir) Link(reg *cleanup.Registry, base string, from *Dir, target string, check func(hidden string) error) error {
	fd, err := from.open(target, unix.O_RDONLY)
	if err == nil {
		defer unix.Close(fd)
		_ = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) // keeps other processes from removing the hidden name
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

// swap calls link, which gives a file a hidden name, then check, unless it is nil, and then renames the file to base.
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

// open opens a file in the directory. It follows no symlink, and does not block on a FIFO.
func (d *Dir) open(base string, flags int) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(d.fd(), base, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
}

// retry repeats a system call while signals interrupt it.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
