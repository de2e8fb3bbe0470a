package inplace

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/cleanup"
	"narseal/cmd/narseal/internal/scan"
)

// A read-only directory, such as one in a Nix store, is made writable while files in it are replaced. A run that is
// killed in the meantime leaves it writable. The next run must recognize such a directory and restore its mode. So a
// single chmod sets the write permission and marks the directory with two bits that mean nothing together on a
// directory: set-user-ID and sticky. A lock (flock), which ends with the process, shows that a run is still alive.
const (
	writable = 0o200
	mark     = unix.S_ISUID | unix.S_ISVTX
)

// isMarked reports whether a directory of this mode was made writable.
func isMarked(mode uint32) bool { return mode&(mark|writable) == mark|writable }

// unmarked returns the original mode of a marked directory.
func unmarked(mode uint32) uint32 { return mode &^ (mark | writable) }

// directories makes directories writable while files in them are replaced, and then restores their modes and
// modification times.
type directories struct {
	cleanup *cleanup.Registry
	mu      sync.Mutex
	open    map[*scan.Dir]*directory
	waited  bool // a wait for a lock timed out
}

// directory is a directory in which files are being replaced.
type directory struct {
	*os.File
	dir     *scan.Dir
	users   int
	mtime   unix.Timespec
	mode    uint32 // to be restored; 0: the mode was not changed
	release func(last func() error) error
}

// enter prepares a directory for replacing files in it. Each call of enter needs a call of leave; the last one restores
// the directory.
func (s *directories) enter(dir *scan.Dir) (*directory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.open[dir]
	if d == nil {
		var err error
		if d, err = s.unlock(dir); err != nil {
			return nil, err
		}
		if s.open == nil {
			s.open = map[*scan.Dir]*directory{}
		}
		s.open[dir] = d
	}
	d.users++
	return d, nil
}

func (s *directories) leave(d *directory) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.users--; d.users > 0 {
		return nil
	}
	delete(s.open, d.dir)
	defer d.dir.Release()
	return d.release(func() error {
		wait := lockWait
		if s.waited {
			wait = 0
		}
		err := d.restore(wait)
		s.waited = s.waited || errors.Is(err, errLocked)
		return err
	})
}

// unlock opens a directory, and makes it writable if it is not.
func (s *directories) unlock(dir *scan.Dir) (*directory, error) {
	f, err := dir.Hold()
	if err != nil {
		return nil, err
	}
	d := &directory{File: f, dir: dir}
	d.release, err = s.cleanup.Hold(func() (undo func(), err error) {
		return func() { _ = d.restore(0) }, d.makeWritable()
	})
	if err != nil {
		dir.Release()
		return nil, err
	}
	return d, nil
}

func (d *directory) makeWritable() error {
	st, err := d.stat()
	if err != nil {
		return err
	}
	d.mtime = st.Mtim
	mode := uint32(st.Mode) & 0o7777
	// Other errors than those of the mode show up when the file is written.
	if unix.Faccessat(int(d.Fd()), ".", unix.W_OK|unix.X_OK, 0) != unix.EACCES {
		return nil
	}
	if mode&mark != 0 {
		return fmt.Errorf("directory %s: its mode %#o has bits that must mark it while it is writable; make it writable first", d.Name(), mode)
	}
	_ = unix.Flock(int(d.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	d.mode = mode
	if err := d.chmod(mode | writable | mark); err != nil {
		return err
	}
	if st, err = d.stat(); err == nil && uint32(st.Mode)&0o7777 != mode|writable|mark {
		err = fmt.Errorf("directory %s: the file system does not keep its mode %#o; make it writable first", d.Name(), mode|writable|mark)
	}
	if err != nil {
		return errors.Join(err, d.chmod(mode))
	}
	return nil
}

const (
	// lockWait limits the time to wait for another run, which holds the lock while it replaces files.
	lockWait  = 5 * time.Second
	lockPause = 20 * time.Millisecond
)

// errLocked is wrapped by the error of a directory whose mode could not be restored.
var errLocked = errors.New("it stays writable, since another process holds a lock on it; run the command again when that process has ended")

// restore restores the directory's modification time and mode. Another run that is replacing a file in it needs the
// present mode, so restore waits until that run releases its lock; the last run restores the mode. The wait is limited,
// because everybody who can read the directory can lock it.
func (d *directory) restore(wait time.Duration) error {
	err := atomicfile.NewDir(d.File).SetModTime(d.mtime)
	if errors.Is(err, unix.EPERM) {
		err = nil // only the owner may set it
	}
	if d.mode != 0 {
		alone := d.isAlone()
		for ; !alone && wait > 0; wait -= lockPause {
			time.Sleep(lockPause)
			alone = d.isAlone()
		}
		switch st, e := d.stat(); {
		case alone:
			err = errors.Join(err, d.chmod(d.mode))
		case e != nil || isMarked(uint32(st.Mode)): // else another run has restored it
			err = errors.Join(err, e, fmt.Errorf("directory %s: %w", d.Name(), errLocked))
		}
	}
	_ = unix.Flock(int(d.Fd()), unix.LOCK_UN)
	return err
}

// isAlone reports whether no other run is replacing files in the directory. If so, it locks the directory against other
// runs.
func (d *directory) isAlone() bool {
	return unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB) != unix.EWOULDBLOCK
}

// recover restores the mode of a directory that a killed run left writable. It returns the mode, or 0 if there was
// nothing to restore.
func (s *directories) recover(dir *scan.Dir) (mode uint32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[dir] != nil {
		return 0, nil
	}
	f, err := dir.Hold()
	if err != nil {
		return 0, err
	}
	defer dir.Release()
	d := &directory{File: f, dir: dir}
	st, err := d.stat()
	if err != nil || !isMarked(uint32(st.Mode)) || !d.isAlone() {
		return 0, err
	}
	mode = unmarked(uint32(st.Mode) & 0o7777)
	err = d.chmod(mode)
	_ = unix.Flock(int(d.Fd()), unix.LOCK_UN)
	return mode, err
}

func (d *directory) stat() (st unix.Stat_t, err error) {
	if err = unix.Fstat(int(d.Fd()), &st); err != nil {
		err = &os.PathError{Op: "stat", Path: d.Name(), Err: err}
	}
	return st, err
}

// chmod changes the mode by the name ".", since fchmod refuses the handle of a directory that was opened for searching
// only. The kernel drops the set-group-ID bit if the user is not in the directory's group, so chmod then returns an error
// and changes nothing.
func (d *directory) chmod(mode uint32) error {
	if mode&unix.S_ISGID != 0 {
		st, err := d.stat()
		if err != nil {
			return err
		}
		if !isMember(st.Gid) {
			return fmt.Errorf("directory %s: its set-group-ID bit would be lost, since the user is not in its group, %d", d.Name(), st.Gid)
		}
	}
	if err := unix.Fchmodat(int(d.Fd()), ".", mode, 0); err != nil {
		return &os.PathError{Op: fmt.Sprintf("chmod %#o", mode), Path: d.Name(), Err: err}
	}
	return nil
}

// isMember reports whether the user is the superuser or in a group.
func isMember(group uint32) bool {
	groups, err := os.Getgroups()
	return os.Geteuid() == 0 || os.Getegid() == int(group) || err == nil && slices.Contains(groups, int(group))
}
