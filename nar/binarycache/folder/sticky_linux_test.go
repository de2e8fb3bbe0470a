package folder_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/folder"
)

// In a directory with the sticky bit, a file of another user cannot be replaced. That is an error of this object, since others
// can. If the user cannot write to the directory at all, it is one of the store.
func TestFileOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as two users")
	}
	const user = 12345
	dir := t.TempDir()
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	version := func(s *folder.Store, name string) binarycache.Version {
		o, err := s.Stat(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return o.Version
	}
	root := folder.New(dir)
	defer root.Close()
	for _, name := range []string{"own", "other"} {
		if err := put(t, root, name, "old", binarycache.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chown(filepath.Join(dir, "own"), user, user), os.Chmod(dir, 0o777|os.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	defer runtime.UnlockOSThread()
	runtime.LockOSThread() // the user is one of the thread
	if _, err := unix.SetfsuidRetUid(user); err != nil {
		t.Fatal(err)
	}
	defer unix.SetfsuidRetUid(0)
	s := folder.New(dir)
	defer s.Close()
	for _, c := range []binarycache.Condition{{}, {Version: version(s, "other")}} {
		if err := put(t, s, "other", "new", c); !errors.Is(err, fs.ErrPermission) || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
	if err := put(t, s, "own", "new", binarycache.Condition{Version: version(s, "own")}); err != nil {
		t.Error(err)
	}
	if _, err := unix.SetfsuidRetUid(0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.SetfsuidRetUid(user); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "own", "newer", binarycache.Condition{}); !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a directory of root: got %v", err)
	}
	for name, want := range map[string]string{"own": "new", "other": "old"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != want {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
	}
}
