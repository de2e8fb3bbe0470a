package storecmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// owners are the users who may own what becomes contents of a store: the user of this process, and root.
type owners []uint32

func newOwners() owners { return owners{uint32(os.Geteuid()), 0} }

// secureDir makes a directory and those around it, as far as they are missing, and returns its name without symlinks. It
// returns an error if a user who is no owner can replace the directory, or one around it, now or later: what sshd calls
// strict modes. The check goes from the root down: below a directory that is secure, no name changes.
func (o owners) secureDir(dir string) (string, error) {
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		return "", fmt.Errorf("%s: %w", dir, errNoDir)
	}
	real, missing, err := resolve(dir)
	if err != nil {
		return "", err
	}
	around := []string{}
	for at := filepath.Dir(real); at != filepath.Dir(at); at = filepath.Dir(at) {
		around = append(around, at)
	}
	around = append(around, "/")
	for _, at := range slices.Backward(around) {
		if err := o.checkDir(at, true); err != nil {
			return "", err
		}
	}
	// What is there is the directory itself, unless some are missing.
	if err := o.checkDir(real, len(missing) > 0); err != nil {
		return "", err
	}
	for i, name := range missing {
		real = filepath.Join(real, name)
		if err := os.Mkdir(real, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if err := o.checkDir(real, i < len(missing)-1); err != nil {
			return "", err
		}
	}
	return real, nil
}

var errNoDir = errors.New("not a directory")

// resolve returns the part of a path that is there, without symlinks, and the names that are missing below it.
func resolve(path string) (real string, missing []string, err error) {
	for at := filepath.Clean(path); ; {
		real, err = filepath.EvalSymlinks(at)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return real, missing, err
		}
		if info, err := os.Lstat(at); err == nil {
			if info.Mode().Type() == fs.ModeSymlink {
				return "", nil, fmt.Errorf("%s: a symlink to what is not there", at)
			}
			continue // another run has just made it
		}
		missing = slices.Insert(missing, 0, filepath.Base(at))
		at = filepath.Dir(at)
	}
}

// checkDir returns an error if others can replace what is in a directory. A directory around the one that counts may have
// the sticky bit instead, with which nobody replaces what belongs to somebody else.
func (o owners) checkDir(dir string, around bool) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w", dir, errNoDir)
	}
	if err := o.checkOwner(info); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	switch mode := info.Mode(); {
	case mode&0o022 == 0, around && mode&fs.ModeSticky != 0, around && mode&0o002 == 0 && isPrivateGroup(dir, info):
		return nil
	default:
		return fmt.Errorf("%s: its mode is %v: other users can write to it, and so change what is staged", dir, mode)
	}
}

// checkOwner returns an error if a file or directory belongs to a user who is no owner.
func (o owners) checkOwner(info fs.FileInfo) error {
	if uid, _ := ownerOf(info); !slices.Contains(o, uid) {
		return fmt.Errorf("it belongs to user %d, want %d: another user must not own what is staged, nor a directory around it", uid, o[0])
	}
	return nil
}

// checkFile returns an error unless a file is a regular one or a directory that only owners can write.
func (o owners) checkFile(info fs.FileInfo) error {
	if !info.IsDir() && !info.Mode().IsRegular() {
		return fmt.Errorf("its mode is %v, want a file or directory", info.Mode())
	}
	if info.Mode()&0o022 != 0 {
		return fmt.Errorf("its mode is %v: other users can write to it", info.Mode())
	}
	return o.checkOwner(info)
}

// isPrivateGroup reports whether the group of a directory is named as its owner: some systems give each user such a group,
// and let it write. An access control list is no such group.
func isPrivateGroup(dir string, info fs.FileInfo) bool {
	if n, err := unix.Lgetxattr(dir, "system.posix_acl_access", nil); err == nil && n > 0 {
		return false
	}
	uid, gid := ownerOf(info)
	owner, err := user.LookupId(strconv.Itoa(int(uid)))
	if err != nil {
		return false
	}
	group, err := user.LookupGroupId(strconv.Itoa(int(gid)))
	return err == nil && group.Name == owner.Username
}

func ownerOf(info fs.FileInfo) (uid, gid uint32) {
	st := info.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid
}
