//go:build linux || darwin

package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/internal/stream"
)

// Put writes an object. It returns an error if body is longer or shorter than o.Size.
func (s *Store) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	dir, base, err := s.parent("put", o.Name, true)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	v, err := s.put(ctx, dir, base, o.Size, body, c)
	if err != nil {
		return "", s.fail("put", o.Name, err)
	}
	return v, nil
}

func (s *Store) put(ctx context.Context, dir *os.File, base string, size int64, body io.Reader, c binarycache.Condition) (binarycache.Version, error) {
	if err := checkCondition(dir, base, c); err != nil {
		return "", ofObject(err) // before anything is copied
	}
	t, err := newTemp(dir)
	if err != nil {
		return "", err
	}
	defer t.close()
	t.wait = &s.wait
	buf := make([]byte, min(256<<10, max(size, 1)))
	n, err := io.CopyBuffer(struct{ io.Writer }{t.file}, io.LimitReader(stream.WithContext(ctx, body), size), buf)
	if err != nil {
		return "", ofObject(reason(err))
	}
	if more, err := io.ReadFull(body, buf[:1]); n != size || more > 0 {
		return "", fmt.Errorf("got %d bytes or more, want %d", n+int64(more), size)
	} else if err != io.EOF {
		return "", err
	}
	if err := t.file.Sync(); err != nil {
		return "", reason(err)
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if c.New {
		err = t.link(base)
	} else {
		err = t.replace(base, c)
	}
	if err != nil {
		return "", ofObject(err)
	}
	if err := syncDir(dir); err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(t.file.Fd()), &st); err != nil {
		return "", err
	}
	return version(&st), nil
}

// checkCondition returns an error if the condition is false.
func checkCondition(dir *os.File, base string, c binarycache.Condition) error {
	var st unix.Stat_t
	err := lstat(dir, base, &st)
	switch {
	case c.New && err == nil:
		return fs.ErrExist
	case errors.Is(err, fs.ErrNotExist):
		if c.Version != "" {
			return binarycache.ErrChanged
		}
		return nil
	case err != nil:
		return err
	case c.Version != "" && version(&st) != c.Version:
		return binarycache.ErrChanged
	}
	return checkRegular(&st)
}

// syncDir makes changes of a directory durable. It returns nil if the file system does not support this, since nothing
// else can be done then.
func syncDir(dir *os.File) error {
	err := dir.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EBADF) {
		return nil
	}
	return reason(err)
}

// A temp is a file that is being written, in the directory of its final name. It is locked while it is open, so that
// Clean does not remove it.
type temp struct {
	dir  *os.File
	file *os.File
	name string // hidden name; "" if it has none
	wait *lockWait
}

// newNamedTemp creates a temp with a hidden name.
func newNamedTemp(dir *os.File) (*temp, error) {
	for {
		t := &temp{dir: dir, name: hiddenName()}
		fd, err := unix.Openat(int(dir.Fd()), t.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o666)
		if err == unix.EEXIST || err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		t.file = os.NewFile(uintptr(fd), t.name)
		var st unix.Stat_t
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			err = unix.Fstat(fd, &st)
		}
		if err == nil && st.Nlink > 0 {
			return t, nil
		}
		t.close()
		if err != nil && err != unix.EWOULDBLOCK { // otherwise Clean has locked it
			return nil, err
		}
	}
}

// link gives the file the name base, unless that name exists.
func (t *temp) link(base string) error {
	if t.name == "" {
		return t.linkUnnamed(base)
	}
	err := unix.Linkat(int(t.dir.Fd()), t.name, int(t.dir.Fd()), base, 0)
	if err == unix.EPERM || err == unix.ENOTSUP || err == unix.ENOSYS { // no hard links here
		if err = renameNew(int(t.dir.Fd()), t.name, base); err == nil {
			t.name = ""
		}
	}
	return err
}

// hide gives the file a hidden name that newName returns. A file system that cannot rename without replacing cannot exchange
// either: there, a file that has a hidden name keeps it.
func (t *temp) hide(newName func() string) error {
	for {
		name, err := newName(), error(nil)
		if t.name == "" {
			err = t.linkUnnamed(name)
		} else if renameNew(int(t.dir.Fd()), t.name, name) != nil {
			return nil
		}
		if err == nil {
			t.name = name
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// replace gives the file the name base, and replaces the file that has it.
func (t *temp) replace(base string, c binarycache.Condition) error {
	if c.Version == "" {
		if err := t.hide(hiddenName); err != nil {
			return err
		}
		return ofReplaced(t.rename(base))
	}
	defer t.lock()()
	var before, own unix.Stat_t
	if err := lstat(t.dir, base, &before); err != nil || version(&before) != c.Version {
		return binarycache.ErrChanged
	}
	if err := unix.Fstat(int(t.file.Fd()), &own); err != nil {
		return err
	}
	if err := t.hide(func() string { return exchangeName(identify(&own), identify(&before), base) }); err != nil {
		return err
	}
	err := t.exchange(base, &before)
	if errors.Is(err, errors.ErrUnsupported) {
		err = t.rename(base)
	}
	return ofReplaced(err)
}

// lock keeps other writers of the directory that lock it away until unlock is called: while an exchange is undone, they
// would see an object that was never written. It gives up if the file system has no locks, or if somebody who can only
// read the directory holds one, since exchange loses nothing without.
func (t *temp) lock() (unlock func()) {
	fd := int(t.dir.Fd())
	for try := 0; ; try++ {
		switch err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			return func() { unix.Flock(fd, unix.LOCK_UN) }
		case unix.EWOULDBLOCK, unix.EINTR:
			if t.wait.again(try) {
				continue
			}
		}
		return func() {}
	}
}

// exchange exchanges the file with the one called base, if that is still the one described by before. Otherwise base is
// the object that was written last.
func (t *temp) exchange(base string, before *unix.Stat_t) error {
	var put, out unix.Stat_t // what an exchange calls base, and what it has taken from there
	if err := unix.Fstat(int(t.file.Fd()), &put); err != nil {
		return err
	}
	for undo := false; ; undo = true {
		switch err := exchange(int(t.dir.Fd()), t.name, base); {
		case err == unix.ENOENT:
			return binarycache.ErrChanged
		case !undo && err == unix.EINVAL: // the file system does not support it
			return errors.ErrUnsupported
		case err != nil:
			return err
		}
		last := out
		if err := lstat(t.dir, t.name, &out); err != nil {
			return err
		}
		if !undo && out.Ino == before.Ino && out.Size == before.Size && out.Mtim == before.Mtim {
			return nil // close removes the old object
		}
		if undo {
			if out.Ino == put.Ino {
				return binarycache.ErrChanged // nobody has written since the exchange before
			}
			put = last
		}
		// Another writer's object has lost its name: exchange again.
	}
}

func (t *temp) rename(base string) error {
	err := unix.Renameat(int(t.dir.Fd()), t.name, int(t.dir.Fd()), base)
	if err == nil {
		t.name = ""
	}
	return err
}

// close closes the file and removes its hidden name.
func (t *temp) close() {
	if t.name != "" {
		unix.Unlinkat(int(t.dir.Fd()), t.name, 0)
	}
	t.file.Close()
}
