package atomicfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/cleanup"
)

// TestMain also lets the test binary be a process that is killed while it writes a file.
func TestMain(m *testing.M) {
	if name := os.Getenv("ATOMICFILE_HOLD"); name != "" {
		if err := holdForever(name); err != nil {
			fmt.Println(err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// holdForever makes a hidden file beside name and says so on stdout.
func holdForever(name string) error {
	dir, err := OpenDir(filepath.Dir(name))
	if err != nil {
		return err
	}
	r, err := dir.replaceNamed(nil, filepath.Base(name), 0o666)
	if err != nil {
		return err
	}
	fmt.Println("held", r.hidden)
	time.Sleep(time.Hour)
	r.Abort()
	return nil
}

// hold starts a process that holds a hidden file beside name.
func hold(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), "ATOMICFILE_HOLD="+name)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	b := make([]byte, 100)
	if n, err := out.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "held .narseal-") {
		t.Fatalf("%q, %v", b[:n], err)
	}
	return c
}

func holds(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("the directory holds %q, want %q", names, want)
	}
}

func write(t *testing.T, name, data string, perm fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), perm); err != nil {
		t.Fatal(err)
	}
}

func contains(t *testing.T, name, want string) {
	t.Helper()
	if b, err := os.ReadFile(name); err != nil || string(b) != want {
		t.Errorf("%s holds %q, %v; want %q", name, b, err, want)
	}
}

// both runs a test with files that have no name, where there are such, and with hidden ones.
func both(t *testing.T, f func(t *testing.T, replace func(reg *cleanup.Registry, name string) (*Replacement, error))) {
	t.Run("unnamed", func(t *testing.T) {
		f(t, func(reg *cleanup.Registry, name string) (*Replacement, error) {
			r, err := Replace(reg, name, 0o666)
			if err == nil && r.hidden != "" {
				r.Abort()
				t.Skip("the file system has no files without a name")
			}
			return r, err
		})
	})
	t.Run("hidden", func(t *testing.T) {
		f(t, func(reg *cleanup.Registry, name string) (*Replacement, error) {
			dir, err := OpenDir(filepath.Dir(name))
			if err != nil {
				return nil, err
			}
			return dir.replaceNamed(reg, filepath.Base(name), 0o666)
		})
	})
}

// A file appears when it is committed; before that, nothing is left of it, whether it is aborted or the program ends.
func TestReplace(t *testing.T) {
	both(t, func(t *testing.T, replace func(*cleanup.Registry, string) (*Replacement, error)) {
		for _, before := range []string{"", "old"} {
			for _, end := range []string{"commit", "abort", "exit"} {
				dir := t.TempDir()
				name := filepath.Join(dir, "out")
				want := before
				if before != "" {
					write(t, name, before, 0o640)
				}
				var r *Replacement
				err := cleanup.Run(t.Context(), func(_ context.Context, reg *cleanup.Registry) (err error) {
					if r, err = replace(reg, name); err != nil {
						return err
					}
					io.WriteString(r, "new")
					switch end {
					case "commit":
						want = "new"
						return r.Commit()
					case "abort":
						r.Abort()
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if end == "exit" {
					if err := r.Commit(); err == nil {
						t.Error("a file appears although the program has ended")
					}
				}
				r.Abort()
				if want == "" {
					holds(t, dir)
				} else {
					holds(t, dir, "out")
					contains(t, name, want)
				}
			}
		}
	})
}

// A nil registry works.
func TestReplaceWithoutRegistry(t *testing.T) {
	both(t, func(t *testing.T, replace func(*cleanup.Registry, string) (*Replacement, error)) {
		dir := t.TempDir()
		name := filepath.Join(dir, "out")
		for _, data := range []string{"first", "second"} {
			r, err := replace(nil, name)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(r, data)
			if b, err := os.ReadFile(pathOf(r)); err != nil || string(b) != data {
				t.Errorf("by its path the file is %q, %v", b, err)
			}
			if err := r.Commit(); err != nil {
				t.Fatal(err)
			}
			r.Abort()
			contains(t, name, data)
		}
		holds(t, dir, "out")
	})
}

// A hidden file of a process that was killed is removed by the next one that writes the file, and one of a process
// that lives is not.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "out")
	dead, alive := hold(t, name), hold(t, name)
	hidden := []string{hiddenName("out", 0), hiddenName("out", 1)}
	slices.Sort(hidden)
	holds(t, dir, hidden...)
	dead.Process.Kill()
	dead.Wait()

	for round := range 2 {
		out, err := Create(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		holds(t, dir, append([]string{hiddenName("out", 1)}, []string{"out"}[:round]...)...)
		io.WriteString(out, "data")
		if err := out.Commit(); err != nil {
			t.Fatal(err)
		}
		holds(t, dir, hiddenName("out", 1), "out")
	}
	alive.Process.Kill()
	alive.Wait()
	out, err := Create(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	out.Abort()
	holds(t, dir, "out")
	contains(t, name, "data")
}

// What has a hidden file's name and is something else stays, and is in nobody's way.
func TestNotLeftovers(t *testing.T) {
	dir := t.TempDir()
	name, target := filepath.Join(dir, "out"), filepath.Join(t.TempDir(), "target")
	write(t, name, "old", 0o666)
	write(t, target, "target", 0o666)
	var want []string
	for try, create := range []func(string) error{
		func(s string) error { return os.Symlink(target, s) },
		func(s string) error { return unix.Mkfifo(s, 0o666) },
		func(s string) error { return os.Mkdir(s, 0o777) },
	} {
		hidden := hiddenName("out", try)
		want = append(want, hidden)
		if err := create(filepath.Join(dir, hidden)); err != nil {
			t.Fatal(err)
		}
	}
	want = append(want, "out")
	slices.Sort(want)
	both(t, func(t *testing.T, replace func(*cleanup.Registry, string) (*Replacement, error)) {
		if out, err := Create(nil, name); err != nil {
			t.Error(err)
		} else {
			out.Abort()
		}
		r, err := replace(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
		holds(t, dir, want...)
		contains(t, target, "target")
	})
}

// When all hidden names of a file are taken, others are used.
func TestHiddenNamesAreTaken(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "out")
	for try := range hiddenNames {
		if err := os.Mkdir(filepath.Join(dir, hiddenName("out", try)), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	both(t, func(t *testing.T, replace func(*cleanup.Registry, string) (*Replacement, error)) {
		for range 2 {
			r, err := replace(nil, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if list, _ := os.ReadDir(dir); len(list) != hiddenNames+1 {
			t.Errorf("%d names, want %d", len(list), hiddenNames+1)
		}
	})
}

// A directory that is swapped for another one meanwhile is not written to.
func TestDirectoryIsSwapped(t *testing.T) {
	both(t, func(t *testing.T, replace func(*cleanup.Registry, string) (*Replacement, error)) {
		top := t.TempDir()
		dir, other := filepath.Join(top, "dir"), filepath.Join(top, "other")
		for _, d := range []string{dir, other} {
			if err := os.Mkdir(d, 0o777); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(d, "out"), "old", 0o666)
		}
		r, err := replace(nil, filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(r, "new")
		if err := os.Rename(dir, filepath.Join(top, "moved")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(other, dir); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(); err != nil {
			t.Error(err)
		}
		contains(t, filepath.Join(other, "out"), "old")
		contains(t, filepath.Join(top, "moved", "out"), "new")
	})
}

// An error of syncing the directory is one of the whole, unless the file system cannot do it.
func TestSyncOfDirectory(t *testing.T) {
	defer func(f func(*os.File) error) { fsync = f }(fsync)
	for _, test := range []struct {
		err  error
		want error
	}{
		{nil, nil},
		{&os.PathError{Op: "sync", Path: "x", Err: syscall.EINVAL}, nil},
		{syscall.ENOTSUP, nil},
		{syscall.EIO, syscall.EIO},
		{&os.PathError{Op: "sync", Path: "x", Err: syscall.ENOSPC}, syscall.ENOSPC},
	} {
		fsync = func(*os.File) error { return test.err }
		name := filepath.Join(t.TempDir(), "out")
		out, err := Create(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Commit(); !errors.Is(err, test.want) {
			t.Errorf("fsync returns %v: commit returns %v, want %v", test.err, err, test.want)
		}
		out.Abort()
		contains(t, name, "")
		write(t, name+"2", "other", 0o666)
		if err := link(t, name+"2", name, nil); !errors.Is(err, test.want) {
			t.Errorf("fsync returns %v: link returns %v, want %v", test.err, err, test.want)
		}
		contains(t, name, "other")
	}
}

// A directory that may be searched and written, but not read.
func TestUnreadableDirectory(t *testing.T) {
	if searchOnly == 0 || os.Getuid() == 0 {
		t.Skip("needs a system that can open it, and not to be root")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o300); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	out, err := Create(nil, filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Commit(); err != nil {
		t.Error(err)
	}
}

// link is Dir.Link for names.
func link(t *testing.T, target, name string, check func(string) error) error {
	t.Helper()
	from, err := OpenDir(filepath.Dir(target))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	d, err := OpenDir(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return d.Link(nil, filepath.Base(name), from, filepath.Base(target), check)
}

// pathOf is a name by which a file can be opened before it is committed.
func pathOf(r *Replacement) string {
	if r.hidden == "" {
		return procPath(r.File)
	}
	return r.dir.path(r.hidden)
}

// A replacement takes a name only if its check allows it, in either way to make it.
func TestReplacementCheck(t *testing.T) {
	no := errors.New("no")
	for what, replace := range map[string]func(d *Dir) (*Replacement, error){
		"unnamed": func(d *Dir) (*Replacement, error) { return d.Replace(nil, "name", 0o666) },
		"named":   func(d *Dir) (*Replacement, error) { return d.replaceNamed(nil, "name", 0o666) },
	} {
		for _, there := range []bool{true, false} {
			for _, allowed := range []bool{true, false} {
				dir := t.TempDir()
				if there {
					write(t, filepath.Join(dir, "name"), "old", 0o666)
				}
				d, err := OpenDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				r, err := replace(d)
				if err != nil {
					t.Fatal(err)
				}
				called := 0
				r.Check = func() error {
					called++
					if allowed {
						return nil
					}
					return no
				}
				if err := r.Commit(); called != 1 || allowed != (err == nil) || !allowed && err != no {
					t.Errorf("%s: called %d times, error %v", what, called, err)
				}
				r.Abort()
				switch {
				case allowed:
					contains(t, filepath.Join(dir, "name"), "")
					holds(t, dir, "name")
				case there:
					contains(t, filepath.Join(dir, "name"), "old")
					holds(t, dir, "name")
				default:
					holds(t, dir)
				}
				d.Close()
			}
		}
	}
}

// A hard link takes a name only if its check allows it.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	target, name := filepath.Join(dir, "target"), filepath.Join(dir, "name")
	write(t, target, "target", 0o444)
	write(t, name, "name", 0o666)
	no := errors.New("no")
	if err := link(t, target, name, func(string) error { return no }); err != no {
		t.Errorf("%v, want %v", err, no)
	}
	contains(t, name, "name")
	allow := func(hidden string) error {
		a, errA := os.Stat(target)
		b, errB := os.Stat(filepath.Join(dir, hidden))
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			t.Errorf("the check is called with %q: %v, %v", hidden, errA, errB)
		}
		return nil
	}
	if err := link(t, target, name, allow); err != nil {
		t.Error(err)
	}
	contains(t, name, "target")
	a, _ := os.Stat(target)
	b, _ := os.Stat(name)
	if !os.SameFile(a, b) {
		t.Error("the name is not one of the target")
	}
	holds(t, dir, "name", "target")
	if err := link(t, filepath.Join(dir, "absent"), name, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want that there is no such file", err)
	}
}

// The permissions of what is replaced stay, and the umask holds for what is new.
func TestPermissions(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	dir := t.TempDir()
	old, link := filepath.Join(dir, "old"), filepath.Join(dir, "link")
	write(t, old, "old", 0o600)
	if err := os.Chmod(old, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("old", link); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{link: 0o666, filepath.Join(dir, "new"): 0o640} {
		out, err := Create(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(out, "data")
		if err := out.Commit(); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the symlink is %v, %v", info, err)
	}
	contains(t, old, "data")
}

// The null device counts as a closed stream only where it is open for reading, too.
func TestIsClosed(t *testing.T) {
	open := func(name string, flags int) *os.File {
		f, err := os.OpenFile(name, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, test := range []struct {
		stream any
		want   bool
	}{
		{open(os.DevNull, os.O_WRONLY), false},
		{open(os.DevNull, os.O_RDWR), true},
		{open("/dev/zero", os.O_RDWR), false},
		{io.Discard, false},
		{nil, false},
	} {
		if got := IsClosed(test.stream); got != test.want {
			t.Errorf("%v: %v", test.stream, got)
		}
	}
}
