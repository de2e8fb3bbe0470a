package folder

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// However far a writer had come when it was killed, Clean leaves the object that was written last, and nothing hidden. While
// the writer is at work, Clean does nothing.
func TestKilledExchange(t *testing.T) {
	for name, c := range map[string]struct {
		other       bool // another program replaces the object right before the exchange
		exchanges   int  // which are done when the writer is killed
		later       bool // a third one replaces it after that
		want, alive string
		left        int
	}{
		"before":                  {false, 0, false, "old", "old", 0},
		"after":                   {false, 1, false, "new", "new", 0},
		"another one, before":     {true, 0, false, "other", "other", 0},
		"another one, after":      {true, 1, false, "other", "new", 0},
		"another one, undone":     {true, 2, false, "other", "other", 0},
		"another one and a third": {true, 1, true, "third", "third", 1}, // nobody knows which of them was first
	} {
		for _, base := range []string{"x.narinfo", strings.Repeat("n", 100)} {
			t.Run(name, func(t *testing.T) {
				path := t.TempDir()
				dir, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer dir.Close()
				write := func(text string) {
					t.Helper()
					if err := errors.Join(os.WriteFile(filepath.Join(path, "tmp"), []byte(text), 0o666), os.Rename(filepath.Join(path, "tmp"), filepath.Join(path, base))); err != nil {
						t.Fatal(err)
					}
				}
				write("old")
				var before, own unix.Stat_t
				f, err := newTemp(dir)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.file.WriteString("new"); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(lstat(dir, base, &before), unix.Fstat(int(f.file.Fd()), &own)); err != nil {
					t.Fatal(err)
				}
				if err := f.hide(func() string { return exchangeName(identify(&own), identify(&before), base) }); err != nil {
					t.Fatal(err)
				}
				if c.other {
					write("other")
				}
				for range c.exchanges {
					if err := exchange(int(dir.Fd()), f.name, base); err != nil {
						t.Skip(err)
					}
				}
				if c.later {
					write("third")
				}
				s := New(path)
				defer s.Close()
				check := func(want string, left int) {
					t.Helper()
					if err := s.Clean(t.Context()); err != nil {
						t.Fatal(err)
					}
					if b, err := os.ReadFile(filepath.Join(path, base)); string(b) != want {
						t.Errorf("got %q, %v, want %q", b, err, want)
					}
					if list, err := filepath.Glob(filepath.Join(path, ".*")); err != nil || left >= 0 && len(list) != left {
						t.Errorf("hidden: %q, %v", list, err)
					}
				}
				check(c.alive, -1)
				f.file.Close() // the writer is killed
				check(c.want, c.left)
			})
		}
	}
}

// Where only the owner of a file may replace it, a hidden file of another user gets no name.
func TestForgedExchange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as two users")
	}
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "x"), []byte("own"), 0o666); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(path, "x"), &st); err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(path, exchangeName(identify(&st), strings.Repeat("0", 16), "x"))
	if err := errors.Join(os.WriteFile(forged, []byte("forged"), 0o666), os.Chown(forged, 12345, 12345), os.Chmod(path, 0o777|os.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	s := New(path)
	defer s.Close()
	if err := s.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(path, "x")); string(b) != "own" {
		t.Errorf("got %q, %v", b, err)
	}
}
