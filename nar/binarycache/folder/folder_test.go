package folder_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
)

func TestStore(t *testing.T) {
	t.Run("missing directory", func(t *testing.T) {
		cachetest.TestStore(t, folder.New(filepath.Join(t.TempDir(), "new", "cache")))
	})
	t.Run("link to the directory", func(t *testing.T) {
		dir := t.TempDir()
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		cachetest.TestStore(t, folder.New(link))
	})
}

func put(t *testing.T, s *folder.Store, name, content string, c binarycache.Condition) error {
	t.Helper()
	_, err := s.Put(t.Context(), binarycache.Object{Name: name, Size: int64(len(content))}, strings.NewReader(content), c)
	return err
}

// entries is what lies in a directory.
func entries(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	s := folder.New(dir)
	if err := put(t, s, "nar/x.nar", "contents", binarycache.Condition{New: true}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "nar/x.nar"))
	if err != nil || info.Mode().Perm()&0o444 == 0 || info.Mode().Perm()&0o111 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, c := range []binarycache.Condition{{}, {New: true}} {
		if err := s.Delete(t.Context(), "top", binarycache.Condition{}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if err := put(t, s, "top", "1", c); err != nil {
			t.Error(err)
		}
	}
	o, err := s.Stat(t.Context(), "top")
	if err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "top", "2", binarycache.Condition{Version: o.Version}); err != nil {
		t.Error(err)
	}
	if got := entries(t, dir); got != "nar top" {
		t.Errorf("the directory has %q", got)
	}
	if got := entries(t, filepath.Join(dir, "nar")); got != "x.nar" {
		t.Errorf("nar has %q", got)
	}
}

// What is made in a cache has the modes that the user's umask leaves, new or in the place of another file.
func TestModes(t *testing.T) {
	for _, mask := range []int{0o022, 0o077, 0o002, 0} {
		dir := filepath.Join(t.TempDir(), "cache")
		old := unix.Umask(mask)
		s := folder.New(dir)
		err := errors.Join(
			put(t, s, "nar/deep/x.nar", "contents", binarycache.Condition{New: true}),
			put(t, s, "top", "1", binarycache.Condition{}),
			put(t, s, "top", "2", binarycache.Condition{}),
		)
		o, statErr := s.Stat(t.Context(), "top")
		err = errors.Join(err, statErr, put(t, s, "top", "3", binarycache.Condition{Version: o.Version}))
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]fs.FileMode{
			"": fs.ModeDir | 0o777, "nar": fs.ModeDir | 0o777, "nar/deep": fs.ModeDir | 0o777, "nar/deep/x.nar": 0o666, "top": 0o666,
		} {
			info, err := os.Lstat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if want &^= fs.FileMode(mask); info.Mode() != want {
				t.Errorf("umask %#o: %q has mode %v, want %v", mask, name, info.Mode(), want)
			}
		}
	}
}

// A file that is written in place has another version, too.
func TestVersions(t *testing.T) {
	dir := t.TempDir()
	s := folder.New(dir)
	if err := put(t, s, "a", "1", binarycache.Condition{}); err != nil {
		t.Fatal(err)
	}
	seen := map[binarycache.Version]bool{}
	for i := range 20 {
		o, err := s.Stat(t.Context(), "a")
		if err != nil || seen[o.Version] {
			t.Fatalf("change %d: version %q again, %v", i, o.Version, err)
		}
		seen[o.Version] = true
		time.Sleep(10 * time.Millisecond) // what a file system's clock may take to go on
		if err := os.WriteFile(filepath.Join(dir, "a"), []byte("2"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// special puts everything that is no regular file under a name, in turn.
func special(t *testing.T, name, outside string, f func(what string)) {
	t.Helper()
	for what, place := range map[string]func() error{
		"link outside":    func() error { return os.Symlink(outside, name) },
		"link inside":     func() error { return os.Symlink("kept", name) },
		"link to nowhere": func() error { return os.Symlink("/nonexistent/x", name) },
		"link to itself":  func() error { return os.Symlink(name, name) },
		"endless":         func() error { return os.Symlink("/dev/zero", name) },
		"fifo":            func() error { return unix.Mkfifo(name, 0o666) },
		"socket":          func() error { return unix.Mknod(name, unix.S_IFSOCK|0o666, 0) },
		"directory":       func() error { return os.Mkdir(name, 0o777) },
	} {
		if err := place(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		f(what)
		if err := os.Remove(name); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func TestSpecialFiles(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	for _, name := range []string{outside, filepath.Join(dir, "kept")} {
		if err := os.WriteFile(name, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "object")
	special(t, name, outside, func(what string) {
		s := folder.New(dir)
		before, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err1 := s.Open(t.Context(), "object")
		_, err2 := s.Stat(t.Context(), "object")
		err3 := s.Delete(t.Context(), "object", binarycache.Condition{})
		err4 := put(t, s, "object", "x", binarycache.Condition{})
		err5 := put(t, s, "object", "x", binarycache.Condition{New: true})
		want := "not a regular file"
		if strings.HasPrefix(what, "link") || what == "endless" {
			want = "symbolic link"
		}
		for i, err := range []error{err1, err2, err3, err4} {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: operation %d: got %v, want %q", what, i, err, want)
			}
		}
		if !errors.Is(err5, fs.ErrExist) {
			t.Errorf("%s: put as new: %v", what, err5)
		}
		after, err := os.Lstat(name)
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: it was replaced: %v", what, err)
		}
		for o, err := range s.List(t.Context(), "") {
			if err != nil || o.Name == "object" && what == "directory" {
				t.Errorf("%s: listed %+v, %v", what, o, err)
			}
		}
	})
	for _, name := range []string{outside, filepath.Join(dir, "kept")} {
		if b, err := os.ReadFile(name); string(b) != "secret" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestLinkedDirectories(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "x.nar"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"inner", "a"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"nar": outside, "nar2": "inner", "a/b": outside, "nowhere": "/nonexistent", "file": filepath.Join(outside, "x.nar")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
		s := folder.New(dir)
		_, _, err1 := s.Open(t.Context(), link+"/x.nar")
		_, err2 := s.Stat(t.Context(), link+"/x.nar")
		err3 := s.Delete(t.Context(), link+"/x.nar", binarycache.Condition{})
		err4 := put(t, s, link+"/x.nar", "x", binarycache.Condition{})
		err5 := put(t, s, link+"/new/x.nar", "x", binarycache.Condition{New: true})
		var err6 error
		for _, err := range s.List(t.Context(), link) {
			err6 = err
		}
		for i, err := range []error{err1, err2, err3, err4, err5, err6} {
			if err == nil || !strings.Contains(err.Error(), "symbolic link") {
				t.Errorf("%s: operation %d: got %v", link, i, err)
			}
		}
	}
	if got := entries(t, outside); got != "x.nar" {
		t.Errorf("the directory outside has %q", got)
	}
	if got := entries(t, filepath.Join(dir, "inner")); got != "" {
		t.Errorf("the directory inside has %q", got)
	}
}

// What a killed run has left is removed, and what a run is writing is not.
func TestClean(t *testing.T) {
	dir := t.TempDir()
	s := folder.New(dir)
	if err := s.Clean(t.Context()); err != nil {
		t.Error(err)
	}
	if err := folder.New(filepath.Join(dir, "missing")).Clean(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"nar/x.nar", "info"} {
		if err := put(t, s, name, "x", binarycache.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	keep := []string{".narseal-0123456789abcdef0", ".narseal-0123456789abcdeF", ".narseal-0123456789abcde0",
		".narseal-0123456789abcde1", ".narseal-0123456789abcde2", ".narseal-ledger.jsonl", ".other"}
	if err := os.Mkdir(filepath.Join(dir, ".narseal-0123456789abcde0"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("info", filepath.Join(dir, ".narseal-0123456789abcde1")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".narseal-0123456789abcdef", "nar/.narseal-0123456789abcdef", ".other", ".narseal-0123456789abcde2",
		".narseal-0123456789abcdef0", ".narseal-0123456789abcdeF", ".narseal-ledger.jsonl"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	busy, err := os.Open(filepath.Join(dir, ".narseal-0123456789abcde2"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if err := unix.Flock(int(busy.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := s.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := append([]string{"info", "nar"}, keep...)
	slices.Sort(want)
	if got := entries(t, dir); got != strings.Join(want, " ") {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := entries(t, filepath.Join(dir, "nar")); got != "x.nar" {
		t.Errorf("nar has %q", got)
	}
	for o, err := range s.List(t.Context(), "") {
		if err != nil || strings.HasPrefix(o.Name, ".") {
			t.Errorf("listed %+v, %v", o, err)
		}
	}
}

// An error of one object is told apart from one of the store, after which a run ends.
func TestErrorsOfOneObject(t *testing.T) {
	dir := t.TempDir()
	s := folder.New(dir)
	defer s.Close()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "nar", "dir.nar", "x"), 0o777), os.Symlink("x", filepath.Join(dir, "nar", "link.nar")),
		unix.Mkfifo(filepath.Join(dir, "nar", "fifo.nar"), 0o666), os.WriteFile(filepath.Join(dir, "file"), nil, 0o666), os.Symlink("nar", filepath.Join(dir, "linked")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, own := range map[string]bool{
		"nar/" + strings.Repeat("x", 256): true, "nar/dir.nar": true, "nar/link.nar": true, "nar/fifo.nar": true,
		"file/x.nar": false, "linked/x.nar": false,
	} {
		_, _, err1 := s.Open(t.Context(), name)
		_, err2 := s.Stat(t.Context(), name)
		err3 := put(t, s, name, "x", binarycache.Condition{})
		for i, err := range []error{err1, err2, err3} {
			if err == nil || errors.Is(err, fs.ErrInvalid) != own {
				t.Errorf("%.20s: operation %d: got %v, of the object: want %v", name, i, err, own)
			}
		}
	}
	if err := put(t, s, "nar/x.nar", "x", binarycache.Condition{}); err != nil {
		t.Error(err)
	}
}

// A directory in place of a narinfo is listed, so that a run does not pass over a path in silence.
func TestDirectoryOfNarinfo(t *testing.T) {
	dir, name := t.TempDir(), strings.Repeat("0", 32)+".narinfo"
	for _, d := range []string{name, "nar", "x.narinfo"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	s := folder.New(dir)
	defer s.Close()
	var listed []string
	for o, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, o.Name)
	}
	if len(listed) != 1 || listed[0] != name {
		t.Errorf("listed %q, want %s", listed, name)
	}
	if _, _, err := s.Open(t.Context(), name); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("open: %v", err)
	}
}
