// Package ownership checks who can change or replace a directory and what is in it.
package ownership

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

// Owners are the users who may own what a program relies on.
type Owners []uint32

// Own returns the user of this process, and root.
func Own() Owners { return Owners{uint32(os.Geteuid()), 0} }

// MakeDir creates a directory and its missing parents, and returns its name without symlinks. It returns an error if any
// other user can replace the directory or one around it, now or later, as sshd does with StrictModes. It checks from the
// root down: in a directory that passed, no other user can change a name.
func (o Owners) MakeDir(dir string) (string, error) {
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
		if err := o.CheckDir(at, true); err != nil {
			return "", err
		}
	}
	// What is there is the directory itself, unless some are missing.
	if err := o.CheckDir(real, len(missing) > 0); err != nil {
		return "", err
	}
	for i, name := range missing {
		real = filepath.Join(real, name)
		if err := os.Mkdir(real, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if err := o.CheckDir(real, i < len(missing)-1); err != nil {
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

// CheckDir returns an error if other users can change the names in a directory. A directory around the one that counts may
// have the sticky bit instead, with which no user can replace the files of another one, or a private group.
func (o Owners) CheckDir(dir string, around bool) error {
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
func (o Owners) checkOwner(info fs.FileInfo) error {
	if uid, _ := ownerOf(info); !slices.Contains(o, uid) {
		return fmt.Errorf("it belongs to user %d, want %d: another user must not own what is staged, nor a directory around it", uid, o[0])
	}
	return nil
}

// CheckFile returns an error unless a file is a regular one or a directory that only owners can write.
func (o Owners) CheckFile(info fs.FileInfo) error {
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
