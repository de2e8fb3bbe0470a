package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Open opens the ledger in a file, or begins one. It locks the file until Close, and removes an incomplete last line.
func Open(name string, o Options) (*Ledger, error) {
	l := &Ledger{name: name, now: time.Now}
	f, err := openFile(name)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if err := l.begin(f, &o); err != nil {
		return nil, errors.Join(l.named(err), f.Close())
	}
	return l, nil
}

// openFile opens and locks a regular file. It follows no symlink, and refuses a file that everybody can write.
func openFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: name the file itself", name)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", name)
	case info.Mode().Perm()&0o002 != 0:
		err = fmt.Errorf("everybody can write %s, and so decide which paths are skipped: chmod o-w it", name)
	default:
		err = lock(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lock keeps other runs away. On file systems without locks it does nothing.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch err {
	case unix.EWOULDBLOCK:
		return fmt.Errorf("another run writes %s: each shard needs a ledger of its own", f.Name())
	case unix.ENOTSUP, unix.ENOSYS, unix.ENOLCK, unix.EINVAL:
		return nil
	}
	return err
}

// begin reads the file and prepares it for appending.
func (l *Ledger) begin(f *os.File, o *Options) error {
	whole, err := l.load(f, o)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != whole {
		if err := f.Truncate(whole); err != nil {
			return err
		}
	}
	s := &fileSink{file: f}
	l.out = s
	b, err := l.firstLines(o, whole == 0)
	if err != nil || len(b) == 0 {
		return err
	}
	if err := s.add(b, true); err != nil || whole > 0 {
		return err
	}
	return syncDir(filepath.Dir(f.Name()))
}

// syncDir makes the name of a new file durable.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return nil // without read permission it cannot be synced
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}

// syncInterval limits how long lines may wait to be synced. They describe unchanged paths, so losing them only costs
// time.
const syncInterval = time.Second

// A fileSink appends to a file.
type fileSink struct {
	file   *os.File
	synced time.Time
}

func (s *fileSink) add(lines []byte, durable bool) error {
	if _, err := s.file.Write(lines); err != nil {
		return err
	}
	if !durable && time.Since(s.synced) < syncInterval {
		return nil
	}
	s.synced = time.Now()
	return s.file.Sync()
}

func (s *fileSink) close() error { return errors.Join(s.file.Sync(), s.file.Close()) }
