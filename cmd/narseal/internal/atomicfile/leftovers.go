package atomicfile

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A file that will be called FILE may first have a hidden name in the same directory. The process that writes it holds
// an exclusive lock (flock) on it until the process ends, for whatever reason. A hidden file that can be locked is
// therefore a leftover of a killed process and may be removed. Hidden names are derived from FILE, so the next process
// that writes FILE finds leftovers without reading the directory.

const (
	hiddenPrefix = ".narseal-"
	// hiddenNames is the number of hidden names of a file. More than one is in use only while several processes write
	// the file at the same time.
	hiddenNames = 16
)

// hiddenName returns a hidden name for a file called base. Tries beyond hiddenNames get random names.
func hiddenName(base string, try int) string {
	n := rand.Uint64()
	if try < hiddenNames {
		h := fnv.New64a()
		h.Write([]byte(base))
		n = h.Sum64() + uint64(try)
	}
	return fmt.Sprintf("%s%016x", hiddenPrefix, n)
}

// IsHidden reports whether name has the form of a hidden name.
func IsHidden(name string) bool {
	digits, ok := strings.CutPrefix(name, hiddenPrefix)
	return ok && len(digits) == 16 && strings.Trim(digits, "0123456789abcdef") == ""
}

// claim calls create with hidden names of base until it does not fail with fs.ErrExist, and returns the last name.
func (d *Dir) claim(base string, create func(hidden string) error) (hidden string, err error) {
	for try := range 2 * hiddenNames {
		hidden = hiddenName(base, try)
		err = create(hidden)
		if errors.Is(err, fs.ErrExist) && d.RemoveLeftover(hidden) {
			err = create(hidden)
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return hidden, err
}

// createHidden creates a file with a hidden name of base, and locks it.
func (d *Dir) createHidden(base string, perm fs.FileMode) (*os.File, string, error) {
	var f *os.File
	hidden, err := d.claim(base, func(hidden string) error {
		fd, err := d.openNew(hidden, perm)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), d.path(hidden))
		if lock(f) && d.isNamed(fd, hidden) {
			return nil
		}
		f.Close()
		return fs.ErrExist // another process treats it as a leftover
	})
	if err != nil {
		return nil, "", &os.PathError{Op: "create", Path: d.path(hidden), Err: err}
	}
	return f, hidden, nil
}

func (d *Dir) openNew(base string, perm fs.FileMode) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(d.fd(), base, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm.Perm()))
	})
}

// lock locks a file. It reports false if another process holds the lock. It reports true if the file system has no
// locks: then no other process can lock the file either, so none removes it.
func lock(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != unix.EWOULDBLOCK
}

// isNamed reports whether base in the directory is the open file fd.
func (d *Dir) isNamed(fd int, base string) bool {
	var opened, named unix.Stat_t
	return unix.Fstat(fd, &opened) == nil && unix.Fstatat(d.fd(), base, &named, unix.AT_SYMLINK_NOFOLLOW) == nil &&
		opened.Dev == named.Dev && opened.Ino == named.Ino
}

// removeLeftovers removes files with hidden names of base that no process has locked.
func (d *Dir) removeLeftovers(base string) {
	for try := range hiddenNames {
		d.RemoveLeftover(hiddenName(base, try))
	}
}

// RemoveLeftover removes a hidden file that no process has locked, and reports whether it did. Only the superuser's
// processes remove files of other users.
func (d *Dir) RemoveLeftover(hidden string) bool {
	// NFS grants an exclusive lock only on a file that is open for writing.
	fd, err := d.open(hidden, unix.O_RDWR)
	if err != nil && err != unix.ENOENT {
		fd, err = d.open(hidden, unix.O_RDONLY)
	}
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	if user := os.Geteuid(); user != 0 && int(st.Uid) != user {
		return false
	}
	return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil && d.isNamed(fd, hidden) && unix.Unlinkat(d.fd(), hidden, 0) == nil
}
