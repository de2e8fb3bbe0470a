package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// AccessList is the extended attribute in which Linux shows the POSIX access control list of a file (acl(5)).
const AccessList = "system.posix_acl_access"

// maxAccessList is XATTR_SIZE_MAX of Linux, in bytes.
const maxAccessList = 64 << 10

// RemoveAccessList removes the access control list that the new file got from its directory. The file that it replaces
// may be older than the directory's list, or have been moved there. Call RemoveAccessList before the new file gets a
// mode for its group, since that mode also limits what the list grants to others.
func (r *Replacement) RemoveAccessList() error {
	switch err := unix.Fremovexattr(int(r.Fd()), AccessList); err {
	case nil, noAttribute, unix.ENOTSUP, unix.ENOSYS:
		return nil
	default:
		return fmt.Errorf("remove the access control list that %s passes on: %w", r.dir.f.Name(), err)
	}
}

// keepAccess gives the new file the mode, group and access control list of the file called name, which it will replace
// and which old describes. If it cannot keep the group or the list, nobody gets a right that they did not have.
func (r *Replacement) keepAccess(name string, old fs.FileInfo) error {
	if err := r.RemoveAccessList(); err != nil {
		return err
	}
	list := make([]byte, maxAccessList)
	n, err := unix.Getxattr(name, AccessList, list)
	switch err {
	case nil:
	case noAttribute, unix.ENOTSUP, unix.ENOSYS:
		n = 0
	default:
		return &os.PathError{Op: "getxattr", Path: name, Err: err}
	}
	perm, sameGroup := old.Mode().Perm(), r.keepGroup(old)
	switch {
	case n > 0 && (!sameGroup || unix.Fsetxattr(int(r.Fd()), AccessList, list[:n], 0) != nil):
		perm &= 0o700
	case !sameGroup:
		// The members of the new group were others until now, and those of the old group become others.
		both := perm >> 3 & perm & 0o7
		perm = perm&0o700 | both<<3 | both
	}
	// The umask does not apply to a file that existed before.
	return r.Chmod(perm)
}

// keepGroup reports whether the new file has the group of the old one.
func (r *Replacement) keepGroup(old fs.FileInfo) bool {
	want := old.Sys().(*syscall.Stat_t)
	var st unix.Stat_t
	if err := unix.Fstat(int(r.Fd()), &st); err != nil {
		return false
	}
	return st.Gid == want.Gid || unix.Fchown(int(r.Fd()), -1, int(want.Gid)) == nil
}
