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

// A file that is to be called FILE may have a hidden name beside it first. Its process holds an exclusive lock (flock)
// on it, which ends with the process, however that happens. So a hidden file that can be locked is a leftover of a
// process that was killed, and may be removed. As the names follow from FILE's, the next process that writes FILE finds
// it without reading the directory.

const (
	hiddenPrefix = ".narseal-"
	// hiddenNames is how many hidden names a file has. More than one is in use only if several processes write the file
	// at the same time.
	hiddenNames = 16
)

// hiddenName is a hidden name for a file called base: after the file's own ones they are random.
func hiddenName(base string, try int) string {
	n := rand.Uint64()
	if try < hiddenNames {
		h := fnv.New64a()
		h.Write([]byte(base))
		n = h.Sum64() + uint64(try)
	}
	return fmt.Sprintf("%s%016x", hiddenPrefix, n)
}

// IsHidden reports whether a name has the form of hidden ones.
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

// createHidden makes a file with a hidden name of base, and locks it.
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
		return fs.ErrExist // another process takes it for a leftover
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

// lock locks a file. It reports false if another process has locked it, but true if the file system has no locks: then
// nobody can lock it, and nobody removes it.
func lock(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != unix.EWOULDBLOCK
}

// isNamed reports whether an open file has this name in the directory.
func (d *Dir) isNamed(fd int, base string) bool {
	var opened, named unix.Stat_t
	return unix.Fstat(fd, &opened) == nil && unix.Fstatat(d.fd(), base, &named, unix.AT_SYMLINK_NOFOLLOW) == nil &&
		opened.Dev == named.Dev && opened.Ino == named.Ino
}

// removeLeftovers removes the files with hidden names of base that no process holds.
func (d *Dir) removeLeftovers(base string) {
	for try := range hiddenNames {
		d.RemoveLeftover(hiddenName(base, try))
	}
}

// RemoveLeftover removes a hidden file that no process holds, and reports whether it did. It removes no file of
// another user, unless it is the superuser's process.
func (d *Dir) RemoveLeftover(hidden string) bool {
	// NFS locks only what can be written.
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
