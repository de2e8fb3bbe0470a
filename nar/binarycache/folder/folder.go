//go:build linux || darwin

// Package folder stores a binary cache in a directory, like `nix copy --to file://DIR`.
//
// The contents of the directory are not trusted. Objects are opened relative to a handle of the directory, one element
// of the name at a time. A symbolic link is never followed: it is an error, like everything else that is not a regular
// file. Only the directory itself may be a link.
//
// Until it is complete, a new file has no name (Linux), or a hidden one that readers ignore and that [Store.Clean]
// removes if its writer was killed.
package folder

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/narinfo"
)

// A Store is a [binarycache.Store] in a directory. The version of an object consists of its inode, its size and its
// times.
//
// Put checks the condition that an object is new atomically. It checks the condition that an object has a version after
// it has exchanged the old and the new object; if the condition is false, it exchanges them back. So another writer's
// object is never lost, but may be invisible for a moment; if narseal is killed in that moment, [Store.Clean] makes it
// visible again. If the file system cannot exchange files, and in Delete, the condition is checked right before the change.
type Store struct {
	path string
	mu   sync.Mutex
	root *os.File // the directory; nil until it was opened
	wait lockWait
}

// New returns the store in a directory. It does no I/O: the directory is opened when it is first needed, and the first
// Put creates it if it is missing.
func New(dir string) *Store { return &Store{path: dir} }

// Close closes the directory. A later call opens it again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		return nil
	}
	root := s.root
	s.root = nil
	return root.Close()
}

// check returns an error if name is not the name of an object.
func (s *Store) check(op, name string) error {
	bad := !fs.ValidPath(name) || name == "." || strings.IndexByte(name, 0) >= 0
	for elem := range strings.SplitSeq(name, "/") {
		bad = bad || strings.HasPrefix(elem, ".")
	}
	if bad {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

// fail adds the operation and the name of the file to an error.
func (s *Store) fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: filepath.Join(s.path, filepath.FromSlash(name)), Err: err}
}

var (
	errSymlink = errors.New("it is a symbolic link, which is not followed in a cache")
	errSpecial = errors.New("it is not a regular file")
)

// open opens the store's own directory.
func (s *Store) open(create bool) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		root, err := os.OpenFile(s.path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
		if create && errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(s.path, 0o777); err == nil {
				root, err = os.OpenFile(s.path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
			}
		}
		if err != nil {
			return nil, reason(err)
		}
		s.root = root
	}
	// Each operation gets a handle of its own, since an open directory has a file position.
	return openDir(s.root, ".")
}

// reason returns an error without the operation and path that package os adds.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// openDir opens a directory in another one. It does not follow symbolic links.
func openDir(in *os.File, name string) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(int(in.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		var st unix.Stat_t
		if lstat(in, name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			err = errSymlink
		}
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(in.Name(), name)), nil
}

// retry repeats a call while signals interrupt it.
func retry[T any](f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if err != unix.EINTR {
			return v, err
		}
	}
}

func lstat(dir *os.File, name string, st *unix.Stat_t) error {
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(int(dir.Fd()), name, st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return err
}

// walk opens a directory below the store's own directory.
func (s *Store) walk(name string, create bool) (*os.File, error) {
	dir, err := s.open(create)
	if err != nil || name == "." || name == "" {
		return dir, err
	}
	for elem := range strings.SplitSeq(name, "/") {
		next, err := openDir(dir, elem)
		if create && errors.Is(err, fs.ErrNotExist) {
			if err = unix.Mkdirat(int(dir.Fd()), elem, 0o777); err == nil || errors.Is(err, fs.ErrExist) {
				if err = syncDir(dir); err == nil {
					next, err = openDir(dir, elem)
				}
			}
		}
		dir.Close()
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

// parent opens the directory of an object.
func (s *Store) parent(op, name string, create bool) (dir *os.File, base string, err error) {
	if err := s.check(op, name); err != nil {
		return nil, "", err
	}
	if dir, err = s.walk(path.Dir(name), create); err != nil {
		return nil, "", s.fail(op, name, err)
	}
	return dir, path.Base(name), nil
}

// Open opens an object. The reader is an *os.File.
func (s *Store) Open(_ context.Context, name string) (io.ReadCloser, binarycache.Object, error) {
	dir, base, err := s.parent("open", name, false)
	if err != nil {
		return nil, binarycache.Object{}, err
	}
	defer dir.Close()
	f, st, err := openRegular(dir, base)
	if errors.Is(err, fs.ErrPermission) {
		err = &objectError{err}
	}
	if err != nil {
		return nil, binarycache.Object{}, s.fail("open", name, ofObject(err))
	}
	return f, object(name, &st), nil
}

// openRegular opens a regular file for reading, without blocking.
func openRegular(dir *os.File, base string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	err := lstat(dir, base, &st) // opening a device can have side effects
	if err == nil {
		err = checkRegular(&st)
	}
	if err != nil {
		return nil, st, err
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(int(dir.Fd()), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		if err == unix.ELOOP {
			err = errSymlink
		}
		return nil, st, err
	}
	if err = unix.Fstat(fd, &st); err == nil {
		if err = checkRegular(&st); err == nil {
			err = unix.SetNonblock(fd, false)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, st, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), base)), st, nil
}

func checkRegular(st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFLNK:
		return errSymlink
	}
	return errSpecial
}

func object(name string, st *unix.Stat_t) binarycache.Object {
	return binarycache.Object{Name: name, Size: st.Size, ModTime: time.Unix(st.Mtim.Unix()), Version: version(st)}
}

func version(st *unix.Stat_t) binarycache.Version {
	var b []byte
	for _, n := range []int64{int64(st.Ino), st.Size, int64(st.Mtim.Sec), int64(st.Mtim.Nsec), int64(st.Ctim.Sec), int64(st.Ctim.Nsec)} {
		b = append(strconv.AppendInt(b, n, 36), '-')
	}
	return binarycache.Version(b[:len(b)-1])
}

// Stat describes an object.
func (s *Store) Stat(_ context.Context, name string) (binarycache.Object, error) {
	dir, base, err := s.parent("stat", name, false)
	if err != nil {
		return binarycache.Object{}, err
	}
	defer dir.Close()
	var st unix.Stat_t
	if err = lstat(dir, base, &st); err == nil {
		err = checkRegular(&st)
	}
	if err != nil {
		return binarycache.Object{}, s.fail("stat", name, ofObject(err))
	}
	return object(name, &st), nil
}

// listBatch is the number of names that are read and sorted at a time.
const listBatch = 1 << 19

// List iterates over the objects of a directory, sorted by name if there are at most 500,000. It also lists entries
// that are neither regular files nor directories, and directories with the name of a narinfo; opening them returns an error.
func (s *Store) List(ctx context.Context, name string) iter.Seq2[binarycache.Object, error] {
	return func(yield func(binarycache.Object, error) bool) {
		dir, err := s.listed(name)
		if err != nil {
			yield(binarycache.Object{}, err)
			return
		}
		defer dir.Close()
		for {
			names, err := dir.Readdirnames(listBatch)
			slices.Sort(names)
			for _, base := range names {
				o, ok, err := listedObject(ctx, dir, path.Join(name, base))
				if err != nil {
					err = s.fail("list", name, err)
				}
				if ok && (!yield(o, err) || err != nil) {
					return
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(binarycache.Object{}, s.fail("list", name, reason(err)))
				return
			}
		}
	}
}

func (s *Store) listed(name string) (*os.File, error) {
	if name != "" {
		if err := s.check("list", name); err != nil {
			return nil, err
		}
	}
	dir, err := s.walk(name, false)
	if err != nil {
		return nil, s.fail("list", name, err)
	}
	return dir, nil
}

// listedObject describes an entry of a directory. ok is false if the entry must be ignored.
func listedObject(ctx context.Context, dir *os.File, name string) (o binarycache.Object, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return o, true, err
	}
	base := path.Base(name)
	if strings.HasPrefix(base, ".") {
		return o, false, nil
	}
	var st unix.Stat_t
	if err := lstat(dir, base, &st); errors.Is(err, fs.ErrNotExist) { // deleted since then
		return o, false, nil
	} else if err != nil {
		return o, true, err
	}
	return object(name, &st), st.Mode&unix.S_IFMT != unix.S_IFDIR || narinfo.IsName(name), nil
}

// Delete removes an object.
func (s *Store) Delete(_ context.Context, name string, c binarycache.Condition) error {
	dir, base, err := s.parent("delete", name, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	var st unix.Stat_t
	if err = lstat(dir, base, &st); err == nil {
		err = checkRegular(&st)
	}
	if err == nil && c.Version != "" && version(&st) != c.Version {
		err = binarycache.ErrChanged
	}
	if err == nil {
		err = unix.Unlinkat(int(dir.Fd()), base, 0)
	}
	if err != nil {
		return s.fail("delete", name, ofObject(err))
	}
	return nil
}
