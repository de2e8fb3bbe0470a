package scan

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o777); err != nil {
		t.Fatal(err)
	}
}

// open opens a file as a walk does.
func open(t *testing.T, name string) *File {
	t.Helper()
	f, err := tryOpen(t, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// tryOpen opens the last element of a name in the directory of the others, even if it is a symlink.
func tryOpen(t *testing.T, name string) (*File, error) {
	t.Helper()
	root, err := (&pool{}).openEntry(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.dir.Release(); root.dir.pool.close() })
	return (&Entry{Dir: root.dir, Name: filepath.Base(name)}).Open()
}

// names walks a tree and lists paths, or what could not be read.
func names(path string) []string {
	var got []string
	err := Walk(path, func(e *Entry) error {
		got = append(got, fmt.Sprintf("%s %s %d %v", e.Path(), e.Inner(), e.Depth(), e.Type))
		return nil
	}, func(err error) { got = append(got, err.Error()) })
	if err != nil {
		got = append(got, err.Error())
	}
	return got
}

// The walk comes by the same names in the same order as that of the standard library, in whatever way the tree is named.
func TestWalk(t *testing.T) {
	top := t.TempDir()
	t.Chdir(top)
	for _, name := range []string{"tree/a.b/x", "tree/a/b/c/x", "tree/a/y", "tree/a0", "tree/z/é", "tree/empty/"} {
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(name, 0o777); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, name, nil)
	}
	for link, target := range map[string]string{"tree/link": "a", "tree/dangling": "absent", "linked": "tree", "tree/a/up": ".."} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo("tree/fifo", 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"tree", "./tree/", "tree/a/..", ".", top, filepath.Join(top, "linked"), "linked", "tree/a/y", "tree/empty", "./tree/a/y"} {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		err = filepath.WalkDir(real, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(real, name)
			if err != nil {
				return err
			}
			shown, inner, depth := path, "/", 0
			if rel != "." {
				shown, inner, depth = filepath.Join(path, rel), "/"+rel, strings.Count(rel, "/")+1
			}
			want = append(want, fmt.Sprintf("%s %s %d %v", shown, inner, depth, d.Type()))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := names(path); !slices.Equal(got, want) {
			t.Errorf("walk of %s:\n%s\nwant\n%s", path, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// What cannot be read is named, and the rest is walked. An error ends the walk.
func TestWalkFails(t *testing.T) {
	top := t.TempDir()
	write(t, filepath.Join(top, "a/x"), nil)
	write(t, filepath.Join(top, "b/x"), nil)
	if got := names(filepath.Join(top, "absent")); len(got) != 1 || !strings.Contains(got[0], "no such file") {
		t.Errorf("an absent name: %q", got)
	}
	gone := func(e *Entry) error {
		if e.Name == "a" {
			return os.RemoveAll(filepath.Join(top, "a"))
		}
		return nil
	}
	var failed []error
	if err := Walk(top, gone, func(err error) { failed = append(failed, err) }); err != nil {
		t.Error(err)
	}
	if len(failed) != 1 || !errors.Is(failed[0], fs.ErrNotExist) || !strings.Contains(failed[0].Error(), filepath.Join(top, "a")) {
		t.Errorf("a directory that is gone: %v", failed)
	}
	n := 0
	if err := Walk(top, func(*Entry) error { n++; return fs.ErrClosed }, nil); err != fs.ErrClosed || n != 1 {
		t.Errorf("after %d calls: %v", n, err)
	}
}

// A directory in whose place another one is put, or a symlink, while the tree is walked is not followed.
func TestWalkSwapped(t *testing.T) {
	for what, swap := range map[string]func(dir, other string) error{
		"symlink":   func(dir, other string) error { return errors.Join(os.Rename(dir, dir+"-"), os.Symlink(other, dir)) },
		"directory": func(dir, other string) error { return errors.Join(os.Rename(dir, dir+"-"), os.Rename(other, dir)) },
	} {
		for _, when := range []string{"before", "after"} {
			top, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
			dir := filepath.Join(top, "d")
			write(t, filepath.Join(dir, "x"), []byte("inside"))
			write(t, filepath.Join(other, "x"), []byte("outside"))
			var opened []string
			var failed []error
			err := Walk(top, func(e *Entry) error {
				if when == "before" && e.Name == "d" || when == "after" && e.Name == "x" {
					if err := swap(dir, other); err != nil {
						t.Fatal(err)
					}
				}
				if e.Name != "x" {
					return nil
				}
				e.Dir.pool.close()
				f, err := e.Open()
				if err != nil {
					failed = append(failed, err)
					return nil
				}
				defer f.Close()
				b := make([]byte, 20)
				n, _ := f.ReadAt(b, 0)
				opened = append(opened, string(b[:n]))
				return nil
			}, func(err error) { failed = append(failed, err) })
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case what == "directory" && when == "before":
				// Nobody has looked at the directory before: it is the one that is walked.
				if len(opened) != 1 || opened[0] != "outside" {
					t.Errorf("%s %s: opened %q, failed %v", what, when, opened, failed)
				}
			case len(opened) > 0 || len(failed) != 1:
				t.Errorf("%s %s: opened %q, failed %v", what, when, opened, failed)
			}
		}
	}
}

// openFiles counts the descriptors of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc: ", err)
	}
	return len(list)
}

// Deep trees are walked to a bound with few open directories, however long their paths are; all are closed in the end.
func TestWalkDeep(t *testing.T) {
	top := t.TempDir()
	fd, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("n", 200)
	for range MaxDepth + 3 {
		if err := unix.Mkdirat(fd, name, 0o777); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"a", "z"} {
			f, err := unix.Openat(next, file, unix.O_CREAT|unix.O_WRONLY, 0o666)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(f)
		}
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	before, most, files := openFiles(t), 0, 0
	var failed []error
	err = Walk(top, func(e *Entry) error {
		if !e.Type.IsRegular() {
			return nil
		}
		files++
		f, err := e.Open()
		if err != nil {
			return err
		}
		if files%100 == 0 {
			most = max(most, openFiles(t))
		}
		return f.Close()
	}, func(err error) { failed = append(failed, err) })
	if err != nil || files != 2*MaxDepth || len(failed) != 1 || !strings.Contains(failed[0].Error(), "more than 2048 nested directories") {
		t.Errorf("%v; %d files, %.300v", err, files, failed)
	}
	if most-before > maxIdle+MaxDepth/anchorDepth+4 {
		t.Errorf("%d handles were open", most-before)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d handles stay open", after-before)
	}
}

// Entries that are opened long after the walk came by, on several goroutines, are those that it came by.
func TestOpenLater(t *testing.T) {
	top := t.TempDir()
	const dirs = 3 * maxIdle
	for i := range dirs {
		write(t, filepath.Join(top, fmt.Sprintf("d%03d/e/f", i)), fmt.Appendf(nil, "%d", i))
	}
	var all []*Entry
	done := make(chan error)
	w := &walker{pool: &pool{}, each: func(e *Entry) error {
		if e.Type.IsRegular() {
			all = append(all, e)
		}
		return nil
	}, failed: func(err error) { t.Error(err) }, opened: func(*Dir) {}, wait: func() {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for w := range 4 {
			go func() {
				for i := w; i < len(all); i += 4 {
					f, err := all[i].Open()
					if err != nil {
						done <- err
						return
					}
					b := make([]byte, 10)
					n, _ := f.ReadAt(b, 0)
					f.Close()
					var number int
					fmt.Sscanf(all[i].Inner().String(), "/d%d/", &number)
					if want := fmt.Sprint(number); string(b[:n]) != want {
						done <- fmt.Errorf("%s holds %q", all[i].Path(), b[:n])
						return
					}
				}
				done <- nil
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}}
	if err := w.walk(top); err != nil || len(all) != dirs {
		t.Errorf("%v, %d files", err, len(all))
	}
}

// TestOpen wants no waiting for what is no regular file, and no symlink followed.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), nil)
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	short := filepath.Join(dir, "socket")
	if runtime.GOOS == "linux" && len(short) < 100 {
		if err := unix.Bind(socket, &unix.SockaddrUnix{Name: short}); err != nil {
			t.Fatal(err)
		}
	} else {
		short = filepath.Join(dir, "fifo")
	}
	for _, name := range []string{filepath.Join(dir, "link"), filepath.Join(dir, "fifo"), short, dir, os.DevNull} {
		if f, err := tryOpen(t, name); !errors.Is(err, errNotRegular) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	f := open(t, filepath.Join(dir, "file"))
	if _, err := f.WriteAt([]byte{1}, 0); !errors.Is(err, os.ErrPermission) {
		t.Errorf("WriteAt: %v", err)
	}
}

// A file in a directory that may be searched but not read can be scanned.
func TestOpenInUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "d/file"), []byte("x"))
	if err := os.Chmod(filepath.Join(dir, "d"), 0o311); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "d"), 0o755) })
	open(t, filepath.Join(dir, "d/file"))
}

func TestReadlink(t *testing.T) {
	dir := t.TempDir()
	for _, target := range []string{"x", strings.Repeat("y/", 2047)} {
		if err := os.Symlink(target, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		err := Walk(dir, func(e *Entry) error {
			if e.Type != fs.ModeSymlink {
				return nil
			}
			got, err := e.Readlink()
			if got != target {
				t.Errorf("target %q, want %q", got, target)
			}
			return err
		}, func(err error) { t.Error(err) })
		if err != nil {
			t.Error(err)
		}
		os.Remove(filepath.Join(dir, "link"))
	}
}

func TestKind(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "text"), []byte("text"))
	write(t, filepath.Join(dir, "empty"), nil)
	write(t, filepath.Join(dir, "image"), bytes.Repeat([]byte{0xcf, 0xfa, 0xed, 0xfe}, 10))
	for name, want := range map[string]string{"": "directory", "text": "", "empty": "", "image": "file"} {
		if got, err := Kind(filepath.Join(dir, name)); got != want || err != nil {
			t.Errorf("%q is a %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := Kind(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) || err.Error() != "stat: no such file or directory" {
		t.Errorf("absent: %v", err)
	}
}

// A walk that holds few names at a time goes the same way, also through large directories inside large ones.
func TestWalkLarge(t *testing.T) {
	top := t.TempDir()
	r := rand.New(rand.NewPCG(7, 7))
	for range 1500 {
		dir := top
		for range r.IntN(4) {
			dir = filepath.Join(dir, fmt.Sprintf("d%d", r.IntN(5)))
		}
		write(t, filepath.Join(dir, strings.Repeat("n", r.IntN(60))+fmt.Sprint(r.IntN(1<<30))), nil)
	}
	// As fs.WalkDir goes it, but for the order: "a" comes before "a-b".
	var want []string
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		want = append(want, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int{1, 1000, 20_000, 1 << 20} {
		var got []string
		peak := 0
		w := &walker{pool: &pool{}, opened: func(*Dir) {}, wait: func() {}, maxNames: most}
		w.failed = func(err error) { t.Error(err) }
		w.each = func(e *Entry) error {
			got = append(got, e.Path().String())
			size := 0
			for _, l := range w.open {
				size += l.size
			}
			peak = max(peak, size)
			return nil
		}
		if err := w.walk(top); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d: %d entries, want %d", most, len(got), len(want))
		}
		if bound := max(2*most, 500); peak > bound+2*most {
			t.Errorf("%d: the names take %d bytes", most, peak)
		}
	}
}

// A large directory is not read again for each of the directories in it.
func TestWalkLargeOnce(t *testing.T) {
	const files, directories, most = 1200, 100, 34_000 // of nearly twice as much names
	top := t.TempDir()
	for i := range files {
		write(t, filepath.Join(top, fmt.Sprintf("z%d", i)), nil)
	}
	for i := range directories {
		for j := range i % 20 {
			write(t, filepath.Join(top, fmt.Sprintf("d%d", i), strings.Repeat("n", 200)+fmt.Sprint(j)), nil)
		}
	}
	w := &walker{pool: &pool{}, opened: func(*Dir) {}, wait: func() {}, maxNames: most}
	w.failed = func(err error) { t.Error(err) }
	entries := 0
	w.each = func(*Entry) error { entries++; return nil }
	if err := w.walk(top); err != nil {
		t.Fatal(err)
	}
	if entries < files+directories {
		t.Errorf("%d entries", entries)
	}
	if again := w.reads - 1 - directories; again > 10 {
		t.Errorf("directories are read again %d times", again)
	}
}

// Deep directories are not opened over and over again from the root.
func TestWalkDeepChains(t *testing.T) {
	const depth, chains, length = 600, 40, 70
	top := t.TempDir()
	fd, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	down := func(fd int, name string, n int) int {
		for range n {
			if err := unix.Mkdirat(fd, name, 0o777); err != nil {
				t.Fatal(err)
			}
			next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
			fd = next
		}
		return fd
	}
	fd = down(fd, "d", depth)
	for i := range chains {
		again, err := unix.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("c", i)
		unix.Close(down(down(again, name, 1), "e", length-1))
	}
	unix.Close(fd)
	seen := 0
	w := &walker{pool: &pool{}, opened: func(*Dir) {}, wait: func() {}, each: func(*Entry) error { seen++; return nil }}
	w.failed = func(err error) { t.Error(err) }
	if err := w.walk(top); err != nil {
		t.Fatal(err)
	}
	dirs := depth + chains*length
	if seen != 1+dirs {
		t.Errorf("%d entries, want %d", seen, 1+dirs)
	}
	if most := 1 + dirs + chains*anchorDepth; w.pool.opened > most {
		t.Errorf("directories were opened %d times, want at most %d", w.pool.opened, most)
	}
}
