package atomicfile

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// accessList encodes an access control list as linux/posix_acl_xattr.h does: a version, and for each entry a tag, the
// rights and an ID. user is a named user; the tags are 1 for the owner, 2 for a user, 4 for the group, 16 for the mask
// and 32 for others.
func accessList(owner, named, group, mask, other uint16, user uint32) []byte {
	const none = 0xffffffff
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, rights uint16
		id          uint32
	}{{1, owner, none}, {2, named, user}, {4, group, none}, {16, mask, none}, {32, other, none}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.rights)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// passOn makes a directory pass an access control list on to new files. It skips the test where there are none.
func passOn(t *testing.T, dir string) {
	t.Helper()
	err := unix.Setxattr(dir, "system.posix_acl_default", accessList(7, 7, 5, 7, 5, 65534), 0)
	if err == unix.ENOTSUP {
		t.Skip("the file system has no access control lists")
	} else if err != nil {
		t.Fatal(err)
	}
}

// list returns the access control list of a file, or nil.
func list(t *testing.T, name string) []byte {
	t.Helper()
	b := make([]byte, 1000)
	n, err := unix.Getxattr(name, "system.posix_acl_access", b)
	if err != nil && err != unix.ENODATA {
		t.Fatal(err)
	}
	return b[:max(n, 0)]
}

func overwrite(t *testing.T, name string) {
	t.Helper()
	out, err := Create(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Commit(); err != nil {
		t.Fatal(err)
	}
}

// A new file has the access control list of the file that it replaces, and not the one that its directory passes on.
func TestReplacedAccessList(t *testing.T) {
	for what, own := range map[string][]byte{"none": nil, "own": accessList(6, 4, 0, 6, 0, 12345)} {
		dir := t.TempDir()
		name, fresh := filepath.Join(dir, "old"), filepath.Join(dir, "new")
		write(t, name, "old", 0o600)
		if err := os.Chmod(name, 0o664); err != nil {
			t.Fatal(err)
		}
		passOn(t, dir)
		if own != nil {
			if err := unix.Setxattr(name, "system.posix_acl_access", own, 0); err != nil {
				t.Fatal(err)
			}
		}
		before, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, name)
		after, err := os.Stat(name)
		if err != nil || os.SameFile(before, after) || before.Mode() != after.Mode() {
			t.Errorf("%s: %v, mode %v, want a new file with mode %v", what, err, after.Mode(), before.Mode())
		}
		if got := list(t, name); !bytes.Equal(got, own) {
			t.Errorf("%s: access control list %x, want %x", what, got, own)
		}
		// A file that is new gets what its directory passes on.
		overwrite(t, fresh)
		if len(list(t, fresh)) == 0 {
			t.Errorf("%s: the directory passed nothing on: the test shows nothing", what)
		}
	}
}

// as calls f with the rights of another user and group.
func as(t *testing.T, id int, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, set := range []func(int) (int, error){unix.SetfsgidRetGid, unix.SetfsuidRetUid} {
		if _, err := set(id); err != nil {
			t.Fatal(err)
		}
		defer set(0)
	}
	f()
}

// A new file has the group of the file that it replaces. If the user is not in that group, nobody gets more rights than
// before.
func TestReplacedGroup(t *testing.T) {
	const user, group = 65534, 23456
	for _, test := range []struct {
		user       int
		list       []byte
		mode, want fs.FileMode
		gid        uint32
	}{
		{0, nil, 0o640, 0o640, group},
		{user, nil, 0o640, 0o600, user},
		{user, nil, 0o664, 0o644, user},
		{user, nil, 0o604, 0o600, user},
		{user, accessList(6, 0, 6, 6, 4, 12345), 0o664, 0o600, user},
	} {
		dir := t.TempDir()
		name := filepath.Join(dir, "old")
		write(t, name, "old", 0o600)
		for _, err := range []error{
			os.Chown(name, 0, group), os.Chmod(name, test.mode), os.Chown(dir, user, user), os.Chmod(filepath.Dir(dir), 0o711),
		} {
			if err != nil {
				t.Skip(err)
			}
		}
		if test.list != nil {
			if err := unix.Setxattr(name, "system.posix_acl_access", test.list, 0); err != nil {
				t.Skip(err)
			}
		}
		if test.user == 0 {
			if err := os.Chmod(dir, fs.ModeSetgid|0o755); err != nil { // new files get the group of the directory
				t.Fatal(err)
			}
			overwrite(t, name)
		} else {
			as(t, test.user, func() { overwrite(t, name) })
		}
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			t.Fatal(err)
		}
		if got := fs.FileMode(st.Mode & 0o7777); got != test.want || st.Gid != test.gid || len(list(t, name)) != 0 {
			t.Errorf("mode %#o, group %d, list %x; of %#o by user %d, want %#o, group %d and no list",
				got, st.Gid, list(t, name), test.mode, test.user, test.want, test.gid)
		}
	}
}
