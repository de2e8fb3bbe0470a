package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

func openState(t *testing.T, dir, work string) *State {
	t.Helper()
	s, err := Open(dir, "cache", work)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeState(t *testing.T, s *State) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// stateFiles are the files below a directory of states.
func stateFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(name string) bool { return filepath.Base(name) == lockName })
}

func testRecords() (a, b Record) {
	name := func(c string) string { return strings.Repeat(c, 32) + ".narinfo" }
	a = Record{In: Identify(name("a"), []byte("1")), Out: Identify(name("b"), []byte("2")), OldNAR: "nar/1.nar", NewNAR: "nar/2.nar"}
	same := Identify(name("c"), []byte("3"))
	return a, Record{In: same, Out: same, OldNAR: "nar/3.nar", NewNAR: "nar/3.nar"}
}

// changes are the records of changes.
func changes(t *testing.T, s *State) (list []Record) {
	t.Helper()
	for r, err := range s.Changes() {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// What does not fit is not remembered, if it is a copy, and refused, if it is a change. What is remembered stays.
func TestFullState(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir, "work")
	s.changes.most, s.copies.most = 2, 3
	record := func(i int, changed bool) Record {
		in := Identify(strings.Repeat("a", 32)+".narinfo", fmt.Append(nil, i))
		out := in
		if changed {
			out = Identify(in.Name, fmt.Append(nil, "out ", i))
		}
		return Record{In: in, Out: out, OldNAR: "nar/1.nar", NewNAR: "nar/2.nar"}
	}
	for i := range 5 {
		if err := s.Add(record(i, true)); (err != nil) != (i >= 2) || err != nil && !errors.Is(err, ErrFull) {
			t.Errorf("change %d: %v", i, err)
		}
		if err := s.Add(record(10+i, false)); err != nil {
			t.Errorf("copy %d: %v", i, err)
		}
	}
	check := func(what string) {
		for i := range 5 {
			got, ok := s.Find(record(i, true).In)
			if ok != (i < 2) || ok && got != record(i, true) || s.Made(record(i, true).Out) != ok {
				t.Errorf("%s: change %d: %v, %+v", what, i, ok, got)
			}
			if _, ok := s.Find(record(10+i, false).In); ok != (i < 3) || s.Made(record(10+i, false).Out) != ok {
				t.Errorf("%s: copy %d: %v", what, i, ok)
			}
		}
		if got := changes(t, s); len(got) != 2 {
			t.Errorf("%s: changes %+v", what, got)
		}
	}
	check("at once")
	closeState(t, s)
	s = openState(t, dir, "work")
	check("opened again")
	closeState(t, s)
}

// The file has a bound, too: what a run adds beyond it is treated like too many records, and a longer file is an error.
func TestStateFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	a, same := testRecords()
	s := openState(t, dir, "work")
	if err := s.Add(a); err != nil {
		t.Fatal(err)
	}
	path := s.path
	s.most = s.end + 10
	if err := s.Add(same); err != nil {
		t.Errorf("a copy: %v", err)
	}
	if _, ok := s.Find(same.In); ok {
		t.Error("a copy beyond the bound is remembered")
	}
	other := a
	other.In = same.In
	if err := s.Add(other); !errors.Is(err, ErrFull) {
		t.Errorf("a change: %v", err)
	}
	if got := changes(t, s); len(got) != 1 || got[0] != a {
		t.Errorf("changes: %+v", got)
	}
	closeState(t, s)

	line, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := &State{places: map[key]int64{}, results: map[key]bool{}, changes: room{most: maxChanges}, most: int64(len(line)) - 1}
	if f.root, err = os.OpenRoot(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	defer f.root.Close()
	var head header
	first, _, _ := strings.Cut(string(line), "\n")
	if err := json.Unmarshal([]byte(first), &head); err != nil {
		t.Fatal(err)
	}
	f.name = filepath.Base(path)
	err = f.load(head)
	f.file.Close()
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a file that is too long: %v", err)
	}
}

// Records take little memory.
func TestStateMemory(t *testing.T) {
	s := openState(t, t.TempDir(), "work")
	defer closeState(t, s)
	n := 20_000
	if testing.Short() {
		n = 2_000
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		id := Identify(strings.Repeat("a", 32)+".narinfo", fmt.Append(nil, i))
		if err := s.Add(Record{In: id, Out: id, OldNAR: "nar/1.nar", NewNAR: "nar/1.nar"}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapInuse) - int64(before.HeapInuse)) / int64(n); each > 120 {
		t.Errorf("%d bytes for each of %d records", each, n)
	}
}

func TestState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	s := openState(t, dir, "work")
	a, b := testRecords()
	for _, r := range []Record{a, b} {
		if err := s.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	closeState(t, s)
	files := stateFiles(t, dir)
	if len(files) != 1 {
		t.Fatalf("files: %q", files)
	}
	path := files[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := openState(t, dir, "other work")
	if other.changes.n > 0 || other.Finish() != nil {
		t.Errorf("of other work: %+v", other.changes)
	}
	closeState(t, other)

	// However it was cut off, the whole lines count, and it goes on behind them.
	lines := strings.SplitAfter(string(whole), "\n")
	ends := []int{len(lines[0]), len(lines[0]) + len(lines[1])}
	for n := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s := openState(t, dir, "work")
		_, hasA := s.Find(a.In)
		_, hasB := s.Find(b.In)
		if hasA != (n >= ends[1]) || hasB != (n == len(whole)) || s.Made(a.Out) != hasA || s.Made(a.In) {
			t.Errorf("cut at %d: has %v, %v", n, hasA, hasB)
		}
		if err := s.Add(b); err != nil {
			t.Fatal(err)
		}
		closeState(t, s)
		s = openState(t, dir, "work")
		if got, ok := s.Find(b.In); !ok || got != b {
			t.Errorf("cut at %d, continued: %+v", n, got)
		}
		if got := changes(t, s); hasA && (len(got) != 1 || got[0] != a) || !hasA && len(got) > 0 {
			t.Errorf("cut at %d: changes %+v", n, got)
		}
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		closeState(t, s)
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatalf("cut at %d: left: %v, %v", n, left, err)
		}
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil { // for the next one
			t.Fatal(err)
		}
	}
}

// What is no state of this work, or was not written by this user, is refused.
func TestForgedState(t *testing.T) {
	a, _ := testRecords()
	dir := t.TempDir()
	s := openState(t, dir, "work")
	if err := s.Add(a); err != nil {
		t.Fatal(err)
	}
	closeState(t, s)
	path := stateFiles(t, dir)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	foreign := openState(t, t.TempDir(), "other work")
	if err := foreign.Add(a); err != nil {
		t.Fatal(err)
	}
	closeState(t, foreign)
	theirs, err := os.ReadFile(foreign.path)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	text := func(b string) func() error {
		return func() error { return os.WriteFile(path, []byte(b), 0o600) }
	}
	for name, c := range map[string]struct {
		place func() error
		want  string
	}{
		"garbage":          {text("garbage\n"), "line 1"},
		"garbage later":    {text(string(good) + "garbage\n"), "line 3"},
		"of another work":  {text(string(theirs)), "line 1: this is the state of another work"},
		"of another cache": {text(strings.Replace(string(good), `"cache":"cache"`, `"cache":"other"`, 1)), "line 1: this is the state of another work or cache"},
		"nix-cache-info":   {text(strings.Replace(string(good), "nar/1.nar", "nix-cache-info", 1)), "line 2: not a record"},
		"narinfo as NAR":   {text(strings.Replace(string(good), "nar/1.nar", strings.Repeat("a", 32)+".narinfo", 1)), "line 2: not a record"},
		"outside":          {text(strings.Replace(string(good), "nar/1.nar", "../x.nar", 1)), "line 2: not a record"},
		"key as narinfo":   {text(strings.Replace(string(good), strings.Repeat("a", 32)+".narinfo", "secret.key", 1)), "line 2: not a record"},
		"endless line":     {text(string(good) + strings.Repeat("x", 1<<17)), "line 3"},
		"writable by all":  {func() error { return errors.Join(text(string(good))(), os.Chmod(path, 0o666)) }, "other users can write to it"},
		"symlink":          {func() error { return errors.Join(os.WriteFile(outside, good, 0o600), os.Symlink(outside, path)) }, "escapes"},
		"symlink to lock":  {func() error { return os.Symlink(lockName, path) }, "symbolic link"},
		"directory":        {func() error { return os.Mkdir(path, 0o700) }, "is a directory"},
		"its directory a link": {func() error {
			return errors.Join(os.RemoveAll(filepath.Dir(path)), os.Symlink(t.TempDir(), filepath.Dir(path)))
		}, "it is a symbolic link"},
	} {
		if err := errors.Join(os.RemoveAll(filepath.Dir(path)), os.Mkdir(filepath.Dir(path), 0o700), c.place()); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, "cache", "work")
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.RemoveAll(filepath.Dir(path)), os.Mkdir(filepath.Dir(path), 0o700), text(string(good))(), os.Chown(path, 12345, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, "cache", "work"); err == nil || !strings.Contains(err.Error(), "another user") {
			t.Errorf("another user's file: %v", err)
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir, "work")
	for _, work := range []string{"work", "other work"} {
		if _, err := Open(dir, "cache", work); err == nil || !strings.Contains(err.Error(), "another run") {
			t.Errorf("%s: %v", work, err)
		}
	}
	other, err := Open(dir, "other cache", "work")
	if err != nil {
		t.Fatal(err)
	}
	closeState(t, other)
	closeState(t, s)
	closeState(t, openState(t, dir, "work"))

	// Runs that begin while others end get the lock, or hear of another run: nothing else.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				s, err := Open(dir, "cache", fmt.Sprint(i))
				if err == nil {
					err = s.Close()
				}
				if err != nil && !strings.Contains(err.Error(), "another run") {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
