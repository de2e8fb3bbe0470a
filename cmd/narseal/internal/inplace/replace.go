package inplace

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/scan"
	"narseal/macho"
)

// replacement is a copy that will replace a file. It implements macho.Image.
type replacement struct {
	*atomicfile.Replacement
	size int64
}

// Size returns the size of the file.
func (r *replacement) Size() int64 { return r.size }

// replace replaces a file in the directory d with a repaired copy. now describes the copy.
func (r *Repairer) replace(d *directory, f *scan.File, cfg macho.Config) (rep *macho.Report, now unix.Stat_t, err error) {
	made, err := atomicfile.NewDir(d.File).Replace(r.Cleanup, f.Entry.Name, 0o600)
	if err != nil {
		return nil, now, err
	}
	defer made.Abort()
	next := &replacement{made, f.Size()}
	if err := copyData(next.File, f.File, next.size); err != nil {
		return nil, now, err
	}
	rep, err = repairCopy(next, cfg)
	if err != nil {
		return nil, now, err
	}
	lost, err := next.inherit(f)
	if err != nil {
		return nil, now, err
	}
	if len(lost) > 0 {
		r.Warn(f.Path(), "extended attributes that cannot be kept: "+strings.Join(lost, ", "))
	}
	if err := f.Unchanged(); err != nil {
		return nil, now, err
	}
	next.Check = func() error { return sameFile(f) }
	if err := unix.Fstat(int(next.Fd()), &now); err != nil {
		return nil, now, fmt.Errorf("stat of the new file: %w", err)
	}
	return rep, now, next.Commit()
}

// repairCopy repairs a copy, and then verifies it.
func repairCopy(next *replacement, cfg macho.Config) (*macho.Report, error) {
	rep, err := cfg.Repair(next)
	if err != nil {
		return nil, err
	}
	check, err := macho.Config{Jobs: cfg.Jobs}.Verify(next)
	if err != nil {
		return nil, err
	}
	for i, s := range rep.Slices {
		if now := check.Slices[i]; s.Status == macho.StatusRepaired && now.Status != macho.StatusValid {
			return nil, fmt.Errorf("%s slice at offset %d: repaired, but %s: %s", s.Arch, s.Offset, now.Status, now.Reason)
		}
	}
	rep.Hashed += check.Hashed
	return rep, nil
}

// errReplaced means that the name now belongs to another file than the one that was repaired.
var errReplaced = errors.New("another file has its name now")

// sameFile returns an error unless the file's name in its directory still refers to the unchanged file.
func sameFile(f *scan.File) error {
	st, err := f.Entry.Stat()
	if err == nil && scan.StateOf(&st) != scan.StateOf(&f.Inode) {
		err = errReplaced
	}
	return err
}

// inherit gives the copy the file's owner, extended attributes, mode and modification time. It returns an error if it
// cannot keep the owner, mode, access control list or time, and the names of other extended attributes that it could not
// keep.
func (r *replacement) inherit(f *scan.File) (lost []string, err error) {
	fd := int(r.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat of the new file: %w", err)
	}
	if st.Uid != f.Inode.Uid || st.Gid != f.Inode.Gid {
		if err := unix.Fchown(fd, int(f.Inode.Uid), int(f.Inode.Gid)); err != nil {
			return nil, fmt.Errorf("keep the owner %d:%d: %w", f.Inode.Uid, f.Inode.Gid, err)
		}
	}
	if err := r.RemoveAccessList(); err != nil {
		return nil, err
	}
	if lost, err = copyAttributes(fd, int(f.Fd())); err != nil {
		return nil, err
	}
	// After chown, which clears the set-user-ID and set-group-ID bits.
	if err := unix.Fchmod(fd, uint32(f.Inode.Mode)&0o7777); err != nil {
		return nil, fmt.Errorf("keep the mode %#o: %w", f.Inode.Mode&0o7777, err)
	}
	if err := r.SetModTime(f.Inode.Mtim); err != nil {
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

// copyData copies the first size bytes of a file to an empty file. It preserves holes.
func copyData(to, from *os.File, size int64) error {
	for off := int64(0); off < size; {
		data, end, err := scan.NextData(from, off, size)
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		if data == size {
			break
		}
		if _, err = from.Seek(data, io.SeekStart); err == nil {
			_, err = to.Seek(data, io.SeekStart)
		}
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		n, err := io.Copy(to, io.LimitReader(from, end-data))
		if err == nil && n < end-data {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("copy: offset %d: %w", data+n, err)
		}
		off = end
	}
	if err := to.Truncate(size); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}
