package storecmd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/report"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

var base = strings.Repeat("a", 32) + "-x"

func newStaging(t *testing.T) *staging {
	t.Helper()
	st, err := openStaging(context.Background(), t.TempDir(), &nixcli.Store{Dir: "/s", StateDir: "/v"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.close)
	return st
}

// What is staged is there with all that the next run needs, or not at all.
func TestStage(t *testing.T) {
	keys, err := runKey()
	if err != nil {
		t.Fatal(err)
	}
	st := newStaging(t)
	path := &nixcli.Path{Base: base, Deriver: base + ".drv", References: []string{base}}
	failed := errors.New("failed")
	if _, err := st.stage(path, "/s", keys, func(w io.Writer) (int64, error) {
		_, _ = io.WriteString(w, "half")
		return 0, failed
	}); err != failed {
		t.Errorf("%v", err)
	}
	if bases, err := st.entries(); err != nil || len(bases) > 0 {
		t.Errorf("%q, %v", bases, err)
	}
	g, err := st.stage(path, "/s", keys, func(w io.Writer) (int64, error) {
		_, err := io.WriteString(w, "contents")
		return 3, err
	})
	if err != nil {
		t.Fatal(err)
	}
	nar, err := g.openNAR()
	if err != nil {
		t.Fatal(err)
	}
	defer nar.Close()
	if b, err := io.ReadAll(nar); err != nil || string(b) != "contents" {
		t.Errorf("%q, %v", b, err)
	}
	// A run that is killed leaves this.
	if err := os.MkdirAll(filepath.Join(st.dir, newPrefix+base, "cache"), 0o755); err != nil {
		t.Fatal(err)
	}
	bases, err := st.entries()
	if err != nil || len(bases) != 1 || bases[0] != base {
		t.Fatalf("%q, %v", bases, err)
	}
	again, err := st.load(base)
	if err != nil || again.NewHash != g.NewHash || again.OldHash != g.OldHash || again.Keys != g.Keys || again.Keys == "" ||
		again.Deriver != path.Deriver || len(again.References) != 1 || again.Entries != 3 {
		t.Errorf("%+v, %v", again, err)
	}
	for _, text := range []string{"", "{}", "x", `{"base":"` + base + `y"}`} {
		if err := os.WriteFile(filepath.Join(g.dir(), "record.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := st.load(base); err == nil {
			t.Errorf("%q is taken for a record", text)
		}
	}
	if err := st.remove(base); err != nil {
		t.Error(err)
	}
	if bases, err := st.entries(); err != nil || len(bases) > 0 {
		t.Errorf("%q, %v", bases, err)
	}
}

// Only one run at a time has a staging directory.
func TestStagingIsLocked(t *testing.T) {
	dir, store := t.TempDir(), &nixcli.Store{Dir: "/s", StateDir: "/v"}
	st, err := openStaging(context.Background(), dir, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := openStaging(ctx, dir, store, func() { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("a second run: %v", err)
	}
	go func() {
		time.Sleep(100 * time.Millisecond)
		st.close()
	}()
	again, err := openStaging(context.Background(), dir, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.entries(); err != nil {
		t.Error(err)
	}
	again.close()

	// However many runs begin and end, one has it at a time, and it is there.
	var held atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				st, err := openStaging(context.Background(), dir, store, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if held.Add(1) > 1 {
					t.Error("two runs have it")
				}
				if _, err := st.entries(); err != nil {
					t.Error(err)
				}
				held.Add(-1)
				st.close()
			}
		})
	}
	wg.Wait()
}

// A path is exchanged as a whole, whether it is there or not, and whatever modes its directories have.
func TestSwapIn(t *testing.T) {
	store := t.TempDir()
	restore := func(to string) error {
		if err := os.MkdirAll(filepath.Join(to, "bin"), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, "bin/x"), []byte("new"), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, "y"), []byte("new"), 0o600); err != nil {
			return err
		}
		return os.Symlink("nowhere", filepath.Join(to, "link"))
	}
	for _, what := range []string{"missing", "there", "a file", "with what a killed run has left"} {
		switch what {
		case "a file":
			if err := os.RemoveAll(filepath.Join(store, base)); err != nil && os.Geteuid() == 0 {
				t.Fatal(err)
			}
			if os.Geteuid() != 0 {
				continue
			}
			if err := os.WriteFile(filepath.Join(store, base), []byte("old"), 0o444); err != nil {
				t.Fatal(err)
			}
		case "with what a killed run has left":
			if err := os.MkdirAll(filepath.Join(store, ".narseal-"+base, "d"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(store, ".narseal-"+base), 0o555); err != nil {
				t.Fatal(err)
			}
		}
		if err := swapIn(store, base, restore, func(string) error { return nil }); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if names, err := filepath.Glob(filepath.Join(store, ".*")); err != nil || len(names) > 0 {
			t.Errorf("%s: left %q, %v", what, names, err)
		}
		for name, mode := range map[string]os.FileMode{"": os.ModeDir | 0o555, "bin": os.ModeDir | 0o555, "bin/x": 0o555, "y": 0o444, "link": os.ModeSymlink | 0o777} {
			info, err := os.Lstat(filepath.Join(store, base, name))
			if err != nil || info.ModTime().Unix() != 1 || info.Mode() != mode && name != "link" {
				t.Errorf("%s: %s: %v, %v", what, name, info, err)
			}
		}
	}
	_ = os.Chmod(filepath.Join(store, base), 0o755)
	_ = os.Chmod(filepath.Join(store, base, "bin"), 0o755)
	failed := errors.New("failed")
	if err := swapIn(store, base, func(string) error { return failed }, nil); err != failed {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(store, base, "bin/x")); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

// Where a file system cannot exchange two names, a path is never gone: it has another name for a moment, and gets its own
// back if the run is killed then, or the new tree is not there.
func TestPlaceWithoutExchange(t *testing.T) {
	dir := t.TempDir()
	store, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	open, err := store.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	write := func(name, text string) {
		t.Helper()
		err := store.Mkdir(name, 0o755)
		if err == nil {
			err = store.WriteFile(name+"/x", []byte(text), 0o644)
		}
		if err == nil {
			err = store.Chmod(name, 0o555)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(what, text string, names ...string) {
		t.Helper()
		if got, err := store.ReadFile(base + "/x"); err != nil || string(got) != text {
			t.Errorf("%s: %q, %v, want %q", what, got, err, text)
		}
		list, err := os.ReadDir(dir)
		if err != nil || len(list) != len(names)+1 {
			t.Errorf("%s: %v, %v, want also %q", what, list, err, names)
		}
		for _, name := range names {
			if _, err := store.Lstat(name); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	write(base, "old")
	write(oldPrefix+base, "left")
	for _, cannot := range []error{unix.EINVAL, unix.ENOSYS, unix.ENOTSUP} {
		synced := false
		p := &placer{store, open, func(int, string, string) error {
			if !synced {
				t.Error("the contents are not on disk")
			}
			return cannot
		}, func() error {
			synced = true
			return nil
		}}
		if err := p.place(base); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, without a new tree: %v", cannot, err)
		}
		want("without a new tree", "old")
		write(leftPrefix+base, "new")
		if err := p.place(base); err != nil {
			t.Errorf("%v: %v", cannot, err)
		}
		want("replaced", "new", leftPrefix+base)
		if err := removeTree(store, base); err != nil {
			t.Fatal(err)
		}
		// What a run leaves that is killed between the renames.
		if err := store.Rename(leftPrefix+base, oldPrefix+base); err != nil {
			t.Fatal(err)
		}
		write(leftPrefix+base, "new")
		s := &nixcli.Store{Dir: dir, RealDir: dir}
		if err := removeLeft(nil, s); err != nil {
			t.Error(err)
		}
		want("killed", "old")
	}
	write(oldPrefix+base, "left")
	if err := removeLeft(nil, &nixcli.Store{Dir: dir, RealDir: dir}); err != nil {
		t.Error(err)
	}
	want("killed after the renames", "old")
}

// What is kept of the paths, their errors and their signatures is bounded, and what is left out is counted.
func TestReportIsBounded(t *testing.T) {
	r := &run{store: &nixcli.Store{Dir: "/s"}, file: &command.ReportFile{}, budget: report.NewBudget(10_000), rep: &storeReport{command: "verify", storeDir: "/s", counts: map[string]int{}}}
	for range 100 {
		f := &pathFound{Path: nixcli.Path{Base: base}, status: failed}
		for range 2 * maxErrors {
			f.fail(io.ErrUnexpectedEOF)
		}
		if len(f.errs) != maxErrors || f.more != maxErrors {
			t.Fatalf("%d errors, %d more", len(f.errs), f.more)
		}
		for range 20 {
			r.add(f, filter.Signature{Path: nar.NewPath("/x"), Slice: macho.Slice{Status: macho.StatusStale}})
		}
		r.rep.add(r, f)
	}
	var b strings.Builder
	if err := r.rep.write(&b); err != nil {
		t.Fatal(err)
	}
	if kept := len(r.rep.paths); kept == 0 || kept > 20 || r.rep.omitted != int64(100-kept) || r.rep.counts[failed] != 100 {
		t.Errorf("%d paths are kept, %d omitted: %v", kept, r.rep.omitted, r.rep.counts)
	}
	if !strings.Contains(b.String(), `"omitted": `) {
		t.Errorf("%s", b.String())
	}
}
