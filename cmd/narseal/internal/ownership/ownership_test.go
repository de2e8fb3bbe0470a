package ownership

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A directory is made where no other user can replace it, and refused elsewhere. The tests of store repair have those of
// other users.
func TestMakeDir(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	own := Own()
	for _, name := range []string{"new", "new", "new/deep/er"} {
		if got, err := own.MakeDir(filepath.Join(top, name)); err != nil || got != filepath.Join(top, name) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, mode := range map[string]os.FileMode{"open": 0o777, "sticky": 0o777 | os.ModeSticky} {
		if err := os.Mkdir(filepath.Join(top, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(top, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": "new", "dangling": "none", "toopen": "open"} {
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"open": "other users can write", "open/x": "other users can write", "open/x/y": "other users can write",
		"toopen/x": "other users can write", "sticky": "other users can write", "link": "not a directory", "dangling": "not a directory",
		"dangling/x": "a symlink to what is not there", "file": "not a directory", "file/x": "not a directory",
	} {
		if _, err := own.MakeDir(filepath.Join(top, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	for name, want := range map[string]string{"sticky/x": "sticky/x", "link/y": "new/y"} {
		if got, err := own.MakeDir(filepath.Join(top, name)); err != nil || got != filepath.Join(top, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(top, "open/x")); err == nil {
		t.Error("a directory was made where other users can replace it")
	}
}
