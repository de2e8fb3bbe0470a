package folder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"narseal/nar/binarycache"
)

// Where files need a name from the start, the result is the same.
func TestNamedTemps(t *testing.T) {
	path := t.TempDir()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	write := func(name, content string, c binarycache.Condition) error {
		f, err := newNamedTemp(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		f.wait = new(lockWait)
		if _, err := f.file.WriteString(content); err != nil {
			t.Fatal(err)
		}
		if c.New {
			return f.link(name)
		}
		return f.replace(name, c)
	}
	if err := write("a", "1", binarycache.Condition{New: true}); err != nil {
		t.Fatal(err)
	}
	if err := write("a", "2", binarycache.Condition{New: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("new, and it is there: %v", err)
	}
	var st unix.Stat_t
	if err := lstat(dir, "a", &st); err != nil {
		t.Fatal(err)
	}
	if err := write("a", "3", binarycache.Condition{Version: version(&st)}); err != nil {
		t.Error(err)
	}
	if err := write("a", "4", binarycache.Condition{Version: version(&st)}); !errors.Is(err, binarycache.ErrChanged) {
		t.Errorf("over another version: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(path, "a")); string(b) != "3" {
		t.Errorf("got %q, %v", b, err)
	}
	if list, err := os.ReadDir(path); err != nil || len(list) != 1 {
		t.Errorf("left: %v, %v", list, err)
	}
}

// An object that comes between the look at a version and the exchange keeps its name.
func TestExchangeIsUndone(t *testing.T) {
	path := t.TempDir()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	name := filepath.Join(path, "a")
	if err := os.WriteFile(name, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	var before unix.Stat_t
	if err := lstat(dir, "a", &before); err != nil {
		t.Fatal(err)
	}
	f, err := newTemp(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.hide(hiddenName); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "b"), []byte("theirs"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(path, "b"), name); err != nil {
		t.Fatal(err)
	}
	err = f.exchange("a", &before)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("no exchange here")
	}
	if !errors.Is(err, binarycache.ErrChanged) {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(name); string(b) != "theirs" {
		t.Errorf("got %q, %v", b, err)
	}
	f.close()
	list, err := os.ReadDir(path)
	if err != nil || len(list) != 1 || strings.HasPrefix(list[0].Name(), ".") {
		t.Errorf("left: %v, %v", list, err)
	}
}
