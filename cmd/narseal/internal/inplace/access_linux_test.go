package inplace

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"narseal/macho/machotest"
)

// A repaired file has the access control list of the old one, and not the one that its directory passes on, which may be
// newer than the file.
func TestKeepsAccessList(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// As in linux/posix_acl_xattr.h: u::rwx,u:65534:rwx,g::r-x,m::rwx,o::r-x and u::rw-,u:12345:r--,g::---,m::rw-,o::---
	passedOn := unhex("02000000" + "01000700ffffffff" + "02000700feff0000" + "04000500ffffffff" + "10000700ffffffff" + "20000500ffffffff")
	own := unhex("02000000" + "01000600ffffffff" + "0200040039300000" + "04000000ffffffff" + "10000600ffffffff" + "20000000ffffffff")
	stale, good := machotest.Stale(20000)
	for what, want := range map[string][]byte{"none": nil, "own": own} {
		dir := t.TempDir()
		name := filepath.Join(dir, "image")
		write(t, name, stale)
		if err := os.Chmod(name, 0o664); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setxattr(dir, "system.posix_acl_default", passedOn, 0); err == unix.ENOTSUP {
			t.Skip("the file system has no access control lists")
		} else if err != nil {
			t.Fatal(err)
		}
		if want != nil {
			if err := unix.Setxattr(name, "system.posix_acl_access", want, 0); err != nil {
				t.Fatal(err)
			}
		}
		if o := repair(t, 1, name); len(o.replaced) != 1 || o.warnings != nil || !bytes.Equal(read(t, name), good) {
			t.Errorf("%s: replaced %q, warnings %q", what, o.replaced, o.warnings)
		}
		got := make([]byte, 1000)
		n, err := unix.Getxattr(name, "system.posix_acl_access", got)
		if err != nil && err != unix.ENODATA {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:max(n, 0)], want) {
			t.Errorf("%s: access control list %x, want %x", what, got[:max(n, 0)], want)
		}
	}
}
