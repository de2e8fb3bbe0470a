package inplace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/scan"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
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

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

// outcome is what a Repairer reported.
type outcome struct {
	replaced []string
	failed   []error
	warnings []string
	invalid  int
}

func newRepairer(jobs int) (*Repairer, *outcome) {
	o := &outcome{}
	return &Repairer{
		Jobs: jobs, OnCMS: macho.CMSKeep,
		Found: func(r *scan.Result, replaced bool) {
			if replaced {
				o.replaced = append(o.replaced, r.Path().String())
			}
		},
		Slice: func(_ nar.Path, s macho.Slice) {
			if !s.Status.OK() {
				o.invalid++
			}
		},
		Fail: func(err error) { o.failed = append(o.failed, err) },
		Warn: func(path nar.Path, problem string) { o.warnings = append(o.warnings, path.String()+": "+problem) },
	}, o
}

// repair runs a Repairer over each path, and wants no error.
func repair(t *testing.T, jobs int, paths ...string) *outcome {
	t.Helper()
	r, o := newRepairer(jobs)
	for _, path := range paths {
		if err := r.Run(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	if o.failed != nil {
		t.Fatal(o.failed)
	}
	return o
}

// opened walks a directory and calls f with each regular file, opened.
func opened(t *testing.T, root string, f func(*scan.File)) {
	t.Helper()
	err := scan.Walk(root, func(e *scan.Entry) error {
		if !e.Type.IsRegular() {
			return nil
		}
		file, err := e.Open()
		if err != nil {
			return err
		}
		defer file.Close()
		f(file)
		return nil
	}, func(err error) { t.Error(err) })
	if err != nil {
		t.Error(err)
	}
}

// A file that changes after it was opened is left alone.
func TestChangedMeanwhile(t *testing.T) {
	stale, _ := machotest.Stale(20000)
	for what, change := range map[string]func(name string) error{
		"written":  func(name string) error { return os.WriteFile(name, append(stale, 0), 0o777) },
		"touched":  func(name string) error { return os.Chtimes(name, time.Time{}, time.Unix(1, 0)) },
		"cut":      func(name string) error { return os.Truncate(name, 30000) },
		"replaced": func(name string) error { return errors.Join(os.Remove(name), os.WriteFile(name, stale, 0o777)) },
		"symlink": func(name string) error {
			other := filepath.Join(filepath.Dir(filepath.Dir(name)), "other")
			return errors.Join(os.Rename(name, other), os.Symlink(other, name))
		},
	} {
		dir := filepath.Join(t.TempDir(), "dir")
		name := filepath.Join(dir, "image")
		write(t, name, stale)
		opened(t, dir, func(f *scan.File) {
			r, _ := newRepairer(1)
			if err := change(name); err != nil {
				t.Fatal(err)
			}
			want := read(t, name)
			if _, replaced, _, err := r.repair(f, macho.Config{}); replaced || err == nil {
				t.Errorf("%s: replaced %v, error %v", what, replaced, err)
			}
			if !bytes.Equal(read(t, name), want) {
				t.Errorf("%s: the file is another one now", what)
			}
			if got := names(t, dir); len(got) != 1 {
				t.Errorf("%s: the directory holds %q", what, got)
			}
		})
	}
}

// A file whose name another one takes while it is repaired stays, and so does the other one: the last check comes just
// before the rename.
func TestReplacedMeanwhile(t *testing.T) {
	stale, _ := machotest.Stale(20000)
	dir := t.TempDir()
	name := filepath.Join(dir, "image")
	write(t, name, stale)
	r, o := newRepairer(1)
	other := []byte("another file")
	r.scanner.Opened = nil
	opened(t, dir, func(f *scan.File) {
		d, err := r.dirs.enter(f.Entry.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		write(t, name, other)
		if err := sameFile(f); !errors.Is(err, errReplaced) {
			t.Errorf("error %v, want %v", err, errReplaced)
		}
		if _, _, err := r.replace(d, f, macho.Config{}); err == nil {
			t.Error("no error")
		}
		if err := r.dirs.leave(d); err != nil {
			t.Error(err)
		}
	})
	if !bytes.Equal(read(t, name), other) || len(names(t, dir)) != 1 || o.failed != nil {
		t.Errorf("the directory holds %q, %v", names(t, dir), o.failed)
	}
}

// A directory in whose place a symlink is put after a file in it was opened leads nowhere: what is repaired lies in the
// directory that was opened.
func TestDirectorySwapped(t *testing.T) {
	stale, good := machotest.Stale(20000)
	for what, swap := range map[string]func(dir, outside string) error{
		"symlink":   func(dir, outside string) error { return os.Symlink(outside, dir) },
		"directory": func(dir, outside string) error { return os.Rename(outside, dir) },
		"nothing":   func(dir, outside string) error { return nil },
	} {
		top, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
		dir := filepath.Join(top, "dir")
		write(t, filepath.Join(dir, "image"), stale)
		write(t, filepath.Join(outside, "image"), stale)
		opened(t, top, func(f *scan.File) {
			if err := errors.Join(os.Rename(dir, dir+"-moved"), swap(dir, outside)); err != nil {
				t.Fatal(err)
			}
			r, _ := newRepairer(1)
			if _, replaced, _, err := r.repair(f, macho.Config{}); !replaced || err != nil {
				t.Errorf("%s: replaced %v, error %v", what, replaced, err)
			}
		})
		if !bytes.Equal(read(t, filepath.Join(dir+"-moved", "image")), good) {
			t.Errorf("%s: the file was not repaired", what)
		}
		if what == "directory" {
			outside = dir
		}
		if !bytes.Equal(read(t, filepath.Join(outside, "image")), stale) || len(names(t, outside)) != 1 {
			t.Errorf("%s: a file outside was replaced", what)
		}
	}
}

// Whoever swaps directories for symlinks while a tree is repaired makes no file outside be replaced. NARSEAL_SWAPS is the
// number of swaps.
func TestSwaps(t *testing.T) {
	swaps := int64(60)
	if s := os.Getenv("NARSEAL_SWAPS"); s != "" {
		var err error
		if swaps, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	const seed = 1
	stale, good := machotest.Stale(5000)
	top, outside := filepath.Join(t.TempDir(), "top"), filepath.Join(t.TempDir(), "outside")
	const dirs, files = 4, 3
	var all []string // within a tree
	for d := range dirs {
		for f := range files {
			all = append(all, fmt.Sprintf("a/b%d/c/f%d", d, f))
		}
	}
	ids := map[string]scan.FileID{}
	identify := func(name string) scan.FileID {
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			t.Fatal(err)
		}
		return scan.IDOf(&st)
	}
	for _, name := range all {
		write(t, filepath.Join(top, name), stale)
		write(t, filepath.Join(outside, name), stale)
		ids[name] = identify(filepath.Join(outside, name))
	}

	var done atomic.Int64
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		random := rand.New(rand.NewPCG(seed, 0))
		for done.Load() < swaps {
			dir := []string{"a", "a/b", "a/b/c"}[random.IntN(3)]
			dir = strings.Replace(dir, "b", fmt.Sprint("b", random.IntN(dirs)), 1)
			name := filepath.Join(top, dir)
			if err := errors.Join(os.Rename(name, name+"-moved"), os.Symlink(filepath.Join(outside, dir), name)); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Duration(random.IntN(300)) * time.Microsecond)
			if err := errors.Join(os.Remove(name), os.Rename(name+"-moved", name)); err != nil {
				t.Error(err)
				return
			}
			done.Add(1)
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(random.IntN(3000)) * time.Microsecond):
			}
		}
	}()
	runs, repaired, hits := 0, 0, 0
	for end := false; !end; runs++ {
		select {
		case <-stopped:
			end = true
		default:
		}
		r, o := newRepairer(2)
		if err := r.Run(t.Context(), top); err != nil {
			t.Fatal(err)
		}
		repaired += len(o.replaced)
		for _, name := range all {
			if file := filepath.Join(outside, name); identify(file) != ids[name] || !bytes.Equal(read(t, file), stale) {
				hits++
				t.Errorf("run %d: %s was replaced", runs, file)
			}
		}
		if hits > 0 {
			break
		}
		if !end {
			for _, name := range all { // stale again, wherever they lie at the moment
				_ = os.WriteFile(filepath.Join(top, name)+"~", stale, 0o777)
				_ = os.Rename(filepath.Join(top, name)+"~", filepath.Join(top, name))
				// Through a symlink, that was the test itself.
				if file := filepath.Join(outside, name); identify(file) != ids[name] {
					ids[name] = identify(file)
				}
			}
		}
	}
	close(stop)
	<-stopped
	for _, name := range all {
		if got := read(t, filepath.Join(top, name)); hits == 0 && !bytes.Equal(got, good) {
			t.Errorf("%s is not repaired in the end", name)
		}
	}
	t.Logf("%d swaps during %d runs that replaced %d files: %d hits", done.Load(), runs, repaired, hits)
	if repaired == 0 {
		t.Error("nothing was repaired")
	}
}

// Hard links stay hard links, however late their last name is opened, and across arguments.
func TestHardLinks(t *testing.T) {
	stale, good := machotest.Stale(20000)
	for _, jobs := range []int{1, 2, 4} {
		top := t.TempDir()
		var all []string
		for i := range 6 {
			all = append(all, filepath.Join(top, fmt.Sprintf("d%d/x/f%d", i%3, i)))
			if i == 0 {
				write(t, all[0], stale)
				continue
			}
			if err := os.MkdirAll(filepath.Dir(all[i]), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(all[0], all[i]); err != nil {
				t.Fatal(err)
			}
		}
		outside := filepath.Join(t.TempDir(), "outside")
		if err := os.Link(all[0], outside); err != nil {
			t.Fatal(err)
		}
		r, o := newRepairer(jobs)
		for i := range 3 {
			if err := r.Run(t.Context(), filepath.Join(top, fmt.Sprint("d", i))); err != nil {
				t.Fatal(err)
			}
		}
		if o.failed != nil || len(o.replaced) != 6 {
			t.Errorf("%d jobs: replaced %q, failed %v", jobs, o.replaced, o.failed)
		}
		first, err := os.Stat(all[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range all {
			if info, err := os.Stat(name); err != nil || !os.SameFile(info, first) {
				t.Errorf("%d jobs: %s: %v, or it is another file than %s", jobs, name, err, all[0])
			}
		}
		if !bytes.Equal(read(t, all[0]), good) || !bytes.Equal(read(t, outside), stale) {
			t.Errorf("%d jobs: the file is not repaired, or the one outside is not as it was", jobs)
		}
		elsewhere := uint64(0)
		r.Elsewhere(func(path nar.Path, n uint64) { elsewhere += n })
		if elsewhere != 1 {
			t.Errorf("%d jobs: %d names elsewhere, want 1", jobs, elsewhere)
		}
	}
}

// The last of several names is no file of its own, though it has one name left when it is opened.
func TestLastHardLink(t *testing.T) {
	stale, good := machotest.Stale(20000)
	top := t.TempDir()
	write(t, filepath.Join(top, "a"), stale)
	if err := os.Link(filepath.Join(top, "a"), filepath.Join(top, "b")); err != nil {
		t.Fatal(err)
	}
	r, _ := newRepairer(1)
	opened(t, top, func(f *scan.File) {
		if f.Entry.Name == "b" && f.Inode.Nlink != 1 {
			t.Fatalf("the last name was opened with %d names left", f.Inode.Nlink)
		}
		if _, err := r.examine(f, macho.Config{Jobs: 1}); err != nil {
			t.Error(err)
		}
	})
	a, errA := os.Stat(filepath.Join(top, "a"))
	b, errB := os.Stat(filepath.Join(top, "b"))
	if errA != nil || errB != nil || !os.SameFile(a, b) || !bytes.Equal(read(t, filepath.Join(top, "b")), good) {
		t.Errorf("%v, %v, or two files, or not repaired", errA, errB)
	}
	if n := len(r.links.all); n != 0 {
		t.Errorf("%d groups are left", n)
	}
}

// A name becomes one of the file that took the place of another name, and of no file that has that name by now.
func TestLinkMoved(t *testing.T) {
	stale, _ := machotest.Stale(20000)
	top := t.TempDir()
	a, b := filepath.Join(top, "a"), filepath.Join(top, "b")
	write(t, a, stale)
	if err := os.Link(a, b); err != nil {
		t.Fatal(err)
	}
	r, _ := newRepairer(1)
	opened(t, top, func(f *scan.File) {
		_, err := r.examine(f, macho.Config{Jobs: 1})
		if f.Entry.Name == "a" {
			if err != nil {
				t.Error(err)
			}
			if err := errors.Join(os.Remove(a), os.WriteFile(a, []byte("secret"), 0o600)); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, errLinkMoved) {
			t.Errorf("error %v, want %v", err, errLinkMoved)
		}
	})
	if !bytes.Equal(read(t, b), stale) || len(names(t, top)) != 2 {
		t.Errorf("%s is another file, or there is more than %q", b, names(t, top))
	}
}

// The modification times of directories stay: in a Nix store they are 1.
func TestDirectoryTimes(t *testing.T) {
	stale, _ := machotest.Stale(20000)
	top := t.TempDir()
	for _, name := range []string{"d/a", "d/b", "e/f/c"} {
		write(t, filepath.Join(top, name), stale)
	}
	if err := os.Link(filepath.Join(top, "d/a"), filepath.Join(top, "e/linked")); err != nil {
		t.Fatal(err)
	}
	dirs := []string{"d", "e/f", "e", "."}
	for _, dir := range dirs {
		if err := os.Chtimes(filepath.Join(top, dir), time.Time{}, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if o := repair(t, 2, top); len(o.replaced) != 4 {
		t.Errorf("replaced %q", o.replaced)
	}
	for _, dir := range dirs {
		if info, err := os.Stat(filepath.Join(top, dir)); err != nil || info.ModTime().Unix() != 1 {
			t.Errorf("%s has time %v, %v", dir, info.ModTime(), err)
		}
	}
}

// The holes of a file are holes in the new one.
func TestHoles(t *testing.T) {
	stale, _ := machotest.Stale(20 << 20)
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	from, to := int64(1<<20), int64(16<<20)
	clear(stale[from:to])
	if _, err = f.WriteAt(stale[:from], 0); err == nil {
		_, err = f.WriteAt(stale[to:], to)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks
	}
	before := blocks()
	if before*512 > 10<<20 {
		t.Skip("the file system fills holes")
	}
	if o := repair(t, 2, name); len(o.replaced) != 1 {
		t.Fatalf("replaced %q", o.replaced)
	}
	if after := blocks(); after > before+16 {
		t.Errorf("%d blocks became %d", before, after)
	}
	want := bytes.Clone(stale)
	if _, err := macho.Repair(macho.Bytes(want)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, name), want) {
		t.Error("not the repaired image")
	}
}

// A file that consists of holes for the most part is an error, and takes no time.
func TestSparse(t *testing.T) {
	stale, _ := machotest.Stale(20000)
	name := filepath.Join(t.TempDir(), "image")
	write(t, name, stale)
	if err := os.Truncate(name, 1<<40); err != nil {
		t.Skip(err)
	}
	r, o := newRepairer(1)
	begin := time.Now()
	if err := r.Run(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if len(o.failed) != 1 || !strings.Contains(o.failed[0].Error(), "a sparse file: only ") {
		t.Errorf("failed: %v", o.failed)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if info, err := os.Stat(name); err != nil || info.Size() != 1<<40 {
		t.Errorf("%v, %v", info, err)
	}
}

// A directory that a killed run made writable gets its mode back from the next one, whatever that repairs; but not one
// in which a run that is alive replaces files, nor one that is writable for another reason.
func TestRecover(t *testing.T) {
	stale, _ := machotest.Stale(20000)
	for mode, want := range map[uint32]uint32{0o5755: 0o555, 0o7711: 0o2511, 0o1755: 0o1755, 0o4755: 0o4755, 0o755: 0o755, 0o5555: 0o5555} {
		for _, alive := range []bool{false, true} {
			for _, what := range []string{"tree", "file"} {
				top := t.TempDir()
				dir := filepath.Join(top, "d")
				write(t, filepath.Join(dir, "image"), stale)
				write(t, filepath.Join(dir, "e/text"), nil)
				if err := unix.Chmod(dir, mode); err != nil {
					t.Fatal(err)
				}
				other, err := os.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				if alive {
					if err := unix.Flock(int(other.Fd()), unix.LOCK_SH); err != nil {
						t.Fatal(err)
					}
				}
				path := top
				if what == "file" {
					path = filepath.Join(dir, "image")
				}
				o := repair(t, 1, path)
				other.Close()
				expected := want
				if alive {
					expected = mode
				}
				var st unix.Stat_t
				if err := unix.Stat(dir, &st); err != nil {
					t.Fatal(err)
				}
				if got := uint32(st.Mode) & 0o7777; got != expected || len(o.replaced) != 1 {
					t.Errorf("%s, mode %#o, alive %v: mode %#o, want %#o; replaced %q", what, mode, alive, got, expected, o.replaced)
				}
				if (len(o.warnings) > 0) != (expected != mode) {
					t.Errorf("%s, mode %#o, alive %v: warnings %q", what, mode, alive, o.warnings)
				}
				os.Chmod(dir, fs.FileMode(0o755))
			}
		}
	}
}

// A directory stays writable while another process holds its lock, and that is an error. If the lock ends soon, the mode is
// restored.
func TestRestoreLocked(t *testing.T) {
	name := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
	open := func() *os.File {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	mode := func() uint32 {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			t.Fatal(err)
		}
		return uint32(st.Mode) & 0o7777
	}
	for _, ends := range []bool{false, true} {
		if err := unix.Chmod(name, 0o5755); err != nil {
			t.Fatal(err)
		}
		other := open()
		if err := unix.Flock(int(other.Fd()), unix.LOCK_SH); err != nil {
			t.Fatal(err)
		}
		d := &directory{File: open(), mode: 0o555}
		if ends {
			time.AfterFunc(2*lockPause, func() { other.Close() })
			if err := d.restore(time.Minute); err != nil || mode() != 0o555 {
				t.Errorf("%v, mode %#o", err, mode())
			}
		} else if err := d.restore(3 * lockPause); !errors.Is(err, errLocked) || mode() != 0o5755 {
			t.Errorf("%v, mode %#o", err, mode())
		}
		other.Close()
	}
	os.Chmod(name, 0o755)
}

// A directory that is refused is left as it is, and is an error.
func TestRefuse(t *testing.T) {
	stale, _ := machotest.Stale(20000)
	dir := t.TempDir()
	for _, name := range []string{"a/image", "store/image", "z/store/deep/image", "z/image"} {
		write(t, filepath.Join(dir, name), stale)
	}
	r, o := newRepairer(2)
	r.Refuse = func(e *scan.Entry) error {
		if e.Name == "store" {
			return errors.New("refused " + e.Path().String())
		}
		return nil
	}
	if err := r.Run(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if len(o.failed) != 2 || len(o.replaced) != 2 {
		t.Errorf("failed %v, replaced %q", o.failed, o.replaced)
	}
	for _, name := range []string{"store/image", "z/store/deep/image"} {
		if !bytes.Equal(read(t, filepath.Join(dir, name)), stale) {
			t.Errorf("%s has changed", name)
		}
	}
}

// While a directory is writable it is marked.
func TestMarked(t *testing.T) {
	for mode := range uint32(0o10000) {
		if isMarked(mode|writable|mark) != true || isMarked(mode) != (mode&(writable|mark) == writable|mark) {
			t.Fatalf("mode %#o", mode)
		}
		if mode&(writable|mark) == 0 && unmarked(mode|writable|mark) != mode {
			t.Fatalf("mode %#o does not come back", mode)
		}
	}
}
