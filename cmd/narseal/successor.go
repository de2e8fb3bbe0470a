package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/scan"
)

// successor is a new file that is to take the place of a loose file. It has
// no name until then where the system can do that, else a hidden one.
type successor struct {
	*os.File
	size int64
	path string // by which it can be opened meanwhile
	// commit makes it durable and puts it into its place.
	commit func() error
	// abort leaves nothing of it. It does nothing after commit.
	abort func()
}

// newSuccessor makes an empty successor of the file called name.
func newSuccessor(x *exits, name string) (*successor, error) {
	r, err := atomicfile.Replace(x.Registry, name, 0o600)
	if err != nil {
		return nil, err
	}
	return &successor{File: r.File, path: r.Path(), commit: r.Commit, abort: r.Abort}, nil
}

// Size is that of what was copied.
func (s *successor) Size() int64 { return s.size }

// inherit gives the successor what f has beside its contents: owner, extended
// attributes, mode and modification time. It is an error where owner or mode
// cannot be kept; of the attributes it returns those that could not.
func (s *successor) inherit(f *scan.File) (lost []string, err error) {
	fd := int(s.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat of the new file: %w", err)
	}
	if st.Uid != f.Inode.Uid || st.Gid != f.Inode.Gid {
		if err := unix.Fchown(fd, int(f.Inode.Uid), int(f.Inode.Gid)); err != nil {
			return nil, fmt.Errorf("keep the owner %d:%d: %w", f.Inode.Uid, f.Inode.Gid, err)
		}
	}
	if lost, err = copyAttributes(fd, int(f.Fd())); err != nil {
		return nil, err
	}
	// After chown, which takes setuid and setgid away.
	if err := unix.Fchmod(fd, uint32(f.Inode.Mode)&0o7777); err != nil {
		return nil, fmt.Errorf("keep the mode %#o: %w", f.Inode.Mode&0o7777, err)
	}
	if err := os.Chtimes(s.path, time.Time{}, time.Unix(f.Inode.Mtim.Unix())); err != nil {
		return nil, fmt.Errorf("keep the modification time: %w", err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat of the new file: %w", err)
	}
	if st.Mode != f.Inode.Mode || st.Uid != f.Inode.Uid || st.Gid != f.Inode.Gid {
		return nil, fmt.Errorf("the new file has mode %#o and owner %d:%d, want %#o and %d:%d",
			st.Mode, st.Uid, st.Gid, f.Inode.Mode, f.Inode.Uid, f.Inode.Gid)
	}
	return lost, nil
}
