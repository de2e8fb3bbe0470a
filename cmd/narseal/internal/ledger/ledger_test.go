package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"narseal/cmd/narseal/internal/worklist"
	"narseal/macho"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
)

const (
	path1 = "/nix/store/11111111111111111111111111111111-a"
	path2 = "/nix/store/22222222222222222222222222222222-b"
	path3 = "/nix/store/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-c"
)

func hashOf(path string) string { return filepath.Base(path)[:32] }

// sri and nix are one hash in the two forms that ledgers and narinfos have.
func sri(n byte) string { return "sha256-" + strings.Repeat(string('A'+n), 42) + "A=" }

func repairOf(t *testing.T) Options {
	t.Helper()
	return Options{Command: "cache repair", Options: "on-cms keep; key a"}
}

func open(t *testing.T, name string, o Options) *Ledger {
	t.Helper()
	l, err := Open(name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t *testing.T, l *Ledger, lines ...Line) {
	t.Helper()
	for _, line := range lines {
		if err := l.Add(line); err != nil {
			t.Fatal(err)
		}
	}
}

func closed(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func sample() []Line {
	return []Line{
		{StorePath: path1, NarHash: sri(1), Status: "unchanged"},
		{StorePath: path2, NarHash: sri(2), Status: "changed", NewNarHash: sri(3), Signatures: []Signature{{"/bin/x", macho.Slice{Arch: "arm64", Status: "repaired", CodeDirectories: []macho.CodeDirectory{{Slot: 0, HashType: 2, Stale: []int{1}}}}}}},
		{StorePath: hashOf(path3), Status: Missing},
	}
}

func wantStates(t *testing.T, l *Ledger) {
	t.Helper()
	for _, c := range []struct {
		path, hash string
		want       State
	}{
		{path1, sri(1), Unchanged}, {path1, sri(2), New}, {path1, "nonsense", New},
		{path2, sri(2), Changed}, {path2, sri(3), Result}, {path2, sri(4), New},
		{path3, sri(1), New}, {"/nix/store/" + strings.Repeat("3", 32) + "-x", sri(1), New},
	} {
		if got := l.Find(hashOf(c.path), c.hash); got != c.want {
			t.Errorf("%s with %s: %d, want %d", c.path, c.hash, got, c.want)
		}
	}
}

func TestContinue(t *testing.T) {
	name := filepath.Join(t.TempDir(), "l")
	l := open(t, name, repairOf(t))
	add(t, l, sample()...)
	closed(t, l)
	text := contents(t, name)
	lines := strings.SplitAfter(text, "\n")
	if len(lines) != 5 || lines[0] != `{"ledger":"narseal/1","command":"cache repair","options":"on-cms keep; key a"}`+"\n" {
		t.Errorf("ledger:\n%s", text)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(lines[2]), &fields); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"storePath", "narHash", "status", "newNarHash", "signatures", "at"} {
		if _, ok := fields[key]; !ok {
			t.Errorf("no %s in %s", key, lines[2])
		}
	}
	if at, err := time.Parse(time.RFC3339, fields["at"].(string)); err != nil || time.Since(at) > time.Hour {
		t.Errorf("at: %v, %v", fields["at"], err)
	}

	l = open(t, name, repairOf(t))
	wantStates(t, l)
	add(t, l, Line{StorePath: path1, NarHash: sri(5), Status: "unchanged"})
	closed(t, l)
	if got := contents(t, name); !strings.HasPrefix(got, text) || strings.Count(got, "\n") != 5 {
		t.Errorf("after another run:\n%s", got)
	}
	l = open(t, name, repairOf(t))
	if l.Find(hashOf(path1), sri(1)) != New || l.Find(hashOf(path1), sri(5)) != Unchanged {
		t.Error("an earlier line of a path counts")
	}
	closed(t, l)
	if l.Add(Line{StorePath: path1, NarHash: sri(1)}) == nil {
		t.Error("a closed ledger takes a path")
	}
}

// A ledger that was cut anywhere, as by a kill, is continued without its last line.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	l := open(t, whole, repairOf(t))
	add(t, l, sample()[:2]...)
	closed(t, l)
	text := contents(t, whole)
	ends := []int{}
	for i := range text {
		if text[i] == '\n' {
			ends = append(ends, i+1)
		}
	}
	for n := range len(text) + 1 {
		name := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(name, []byte(text[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(name, repairOf(t))
		if err != nil {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
		if got, want := l.Find(hashOf(path1), sri(1)) == Unchanged, n >= ends[1]; got != want {
			t.Errorf("cut after %d bytes: knows the first path: %v, want %v", n, got, want)
		}
		if got, want := l.Find(hashOf(path2), sri(3)) == Result, n >= ends[2]; got != want {
			t.Errorf("cut after %d bytes: knows the second path: %v, want %v", n, got, want)
		}
		closed(t, l)
		kept := 0
		for _, end := range ends {
			if end <= n {
				kept = end
			}
		}
		if kept == 0 {
			kept = ends[0]
		}
		if got := contents(t, name); got != text[:kept] {
			t.Errorf("cut after %d bytes, it becomes\n%s", n, got)
		}
		os.Remove(name)
	}
}

// Ledgers of shards are concatenated, also one that was cut off.
func TestConcatenated(t *testing.T) {
	dir := t.TempDir()
	var all strings.Builder
	for i, line := range sample() {
		name := filepath.Join(dir, fmt.Sprint(i))
		l := open(t, name, repairOf(t))
		add(t, l, line)
		closed(t, l)
		all.WriteString(contents(t, name))
		all.WriteString(`{"storePath":"/nix/store/3333`) // of a shard that was killed
	}
	name := filepath.Join(dir, "all")
	if err := os.WriteFile(name, []byte(all.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, name, repairOf(t))
	wantStates(t, l)
	closed(t, l)

	o := repairOf(t)
	o.Shard = worklist.Shard{Index: 0, Count: 2}
	l = open(t, name, o)
	if l.Find(hashOf(path1), sri(1)) != Unchanged || l.done.hashes.Len() != 2 {
		t.Errorf("a shard remembers %d paths, want 2", l.done.hashes.Len())
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	header := `{"ledger":"narseal/1","command":"cache repair","options":"on-cms keep; key a"}` + "\n"
	for text, want := range map[string]string{
		`{"ledger":"narseal/1","command":"cache verify","options":""}` + "\n":                   `line 1: a ledger of other work: of "cache verify", this is "cache repair"`,
		`{"ledger":"narseal/1","command":"cache repair","options":"on-cms keep; key b"}` + "\n": `it has "key b", this run "on-cms keep; key a"`,
		`{"ledger":"narseal/1","command":"cache repair","options":"on-cms keep"}` + "\n":        "other work",
		header + strings.Replace(header, "repair", "rewrite", 1):                                "line 2: a ledger of other work",
		`{"ledger":"narseal/2","command":"cache repair","options":"on-cms keep; key a"}` + "\n": `version "narseal/2"`,
		"some text\n":              "not a ledger",
		"some text":                "not a ledger",
		"{}\n":                     "not a ledger",
		"[1]\n":                    "not a ledger",
		`{"storePath":"x"}` + "\n": "not a ledger",
		header + "{}\n":            "line 2: storePath",
		header + "nonsense\n":      "line 2: not a line",
		header + "\n":              "line 2: not a line",
		header + `{"storePath":"` + path1 + `","narHash":"x","status":"unchanged"}` + "\n":                                            "line 2: narHash",
		header + `{"storePath":"` + path1 + `","narHash":"` + sri(1) + `","newNarHash":"sha1-x","status":"changed"}` + "\n":           "line 2: newNarHash",
		header + `{"storePath":"` + path1 + `","narHash":"` + sri(1) + `","status":"unchanged","omitted":-1}` + "\n":                  "line 2: omitted",
		header + `{"storePath":"` + path1 + `","narHash":"` + sri(1) + `","status":"unchanged","omitted":9223372036854775807}` + "\n": "line 2: omitted",
		header + `{"storePath":"` + path1 + `","status":"` + strings.Repeat("x", 101) + `"}` + "\n":                                   "line 2: status",
		header + `{"storePath":"` + path1 + `","status":"failed","signatures":[{"arch":"` + strings.Repeat("x", 101) + `"}]}` + "\n":  "signature: ",
		header + `{"storePath":"` + strings.Repeat("/x", 2048) + path1 + `","status":"missing"}` + "\n":                               "line 2: storePath: more than 4095 bytes",
		header + `{"storePath":"` + strings.Repeat("x", maxLine) + `"}` + "\n":                                                        "line 2: more than 8388608 bytes",
	} {
		name := filepath.Join(dir, "l")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(name, repairOf(t)); err == nil || !strings.Contains(err.Error(), want) {
			l.Close()
			t.Errorf("%.100q: %v, want %q", text, err, want)
		}
		if contents(t, name) != text {
			t.Errorf("%.100q was changed", text)
		}
	}
}

func TestOpenedSafely(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "l")
	l := open(t, name, repairOf(t))
	if _, err := Open(name, repairOf(t)); err == nil || !strings.Contains(err.Error(), "another run writes") {
		t.Errorf("opened twice: %v", err)
	}
	closed(t, l)
	for what, make := range map[string]func(string) error{
		"a symbolic link":    func(to string) error { return os.Symlink(name, to) },
		"not a regular file": func(to string) error { return syscall.Mkfifo(to, 0o600) },
		"everybody can write": func(to string) error {
			if err := os.WriteFile(to, nil, 0o600); err != nil {
				return err
			}
			return os.Chmod(to, 0o666)
		},
	} {
		to := filepath.Join(dir, what)
		if err := make(to); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(to, repairOf(t)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "no", "l"), repairOf(t)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
}

// What a line holds is bounded, and it can be read again.
func TestLongLine(t *testing.T) {
	line := Line{StorePath: path1, NarHash: sri(1), Status: "unchanged", Error: strings.Repeat("x", 10<<20)}
	pages := make([]int, 300)
	for i := range 2000 {
		line.Signatures = append(line.Signatures, Signature{fmt.Sprintf("/bin/%d%s", i, strings.Repeat("y", 4000)),
			macho.Slice{Arch: "arm64", Status: "stale", CodeDirectories: []macho.CodeDirectory{{Stale: pages}}}})
	}
	name := filepath.Join(t.TempDir(), "l")
	l := open(t, name, repairOf(t))
	add(t, l, line)
	closed(t, l)
	var got *Line
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Read(f, func(int, Work) error { return nil }, func(_ int, l *Line) error { got = l; return nil }, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(contents(t, name)); n > maxWritten+200 || int(got.Omitted)+len(got.Signatures) != 2000 || len(got.Signatures) < 100 {
		t.Errorf("%d bytes with %d signatures, %d omitted", n, len(got.Signatures), got.Omitted)
	}
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func openObject(t *testing.T, s binarycache.Store) (*Ledger, error) {
	t.Helper()
	return OpenObject(t.Context(), s, "l.jsonl", "s3://b/l.jsonl", tempFile(t), repairOf(t))
}

func TestObject(t *testing.T) {
	s := cachetest.NewMemory(nil)
	l, err := openObject(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Objects()["l.jsonl"]; strings.Count(got, "\n") != 1 {
		t.Errorf("at first: %q", got)
	}
	add(t, l, sample()...)
	closed(t, l)
	text := s.Objects()["l.jsonl"]
	if l, err = openObject(t, s); err != nil {
		t.Fatal(err)
	}
	wantStates(t, l)
	other, err := openObject(t, s)
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, Line{StorePath: path3, NarHash: sri(1), Status: "unchanged"})
	add(t, other, Line{StorePath: path3, NarHash: sri(2), Status: "unchanged"})
	if err := l.out.(*objectSink).put(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err == nil || !strings.Contains(err.Error(), "another run writes it") {
		t.Errorf("two runs write one ledger: %v", err)
	}
	closed(t, l)
	if got := s.Objects()["l.jsonl"]; !strings.HasPrefix(got, text) || strings.Count(got, "\n") != 5 {
		t.Errorf("after another run:\n%s", got)
	}
}

// What a stopped run has finished is put all the same, and an error of a put in between ends the next run.
func TestObjectStopped(t *testing.T) {
	s := cachetest.NewMemory(nil)
	ctx, cancel := context.WithCancel(t.Context())
	l, err := OpenObject(ctx, s, "l", "l", tempFile(t), repairOf(t))
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, sample()...)
	cancel()
	closed(t, l)
	if n := strings.Count(s.Objects()["l"], "\n"); n != 4 {
		t.Errorf("%d lines", n)
	}

	f := &failing{Store: s}
	if l, err = OpenObject(t.Context(), f, "l", "l", tempFile(t), repairOf(t)); err != nil {
		t.Fatal(err)
	}
	f.err = errors.New("broken")
	sink := l.out.(*objectSink)
	go sink.putAgain(time.Millisecond)
	add(t, l, sample()[0])
	for err == nil {
		err = l.Add(sample()[0])
	}
	if !errors.Is(err, f.err) || !strings.HasPrefix(err.Error(), "ledger l: ") {
		t.Errorf("got %v, want %v", err, f.err)
	}
}

// A put that is in progress when the run is stopped is completed, and then the rest is put.
func TestObjectStoppedInPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &waiting{Store: cachetest.NewMemory(nil), goOn: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		l, err := OpenObject(ctx, s, "l", "l", tempFile(t), repairOf(t))
		if err != nil {
			t.Fatal(err)
		}
		s.waits.Store(true)
		add(t, l, sample()[0])
		time.Sleep(putInterval)
		synctest.Wait()
		add(t, l, sample()[1:]...)
		cancel()
		synctest.Wait()
		close(s.goOn)
		closed(t, l)
		if n := strings.Count(s.Store.(*cachetest.Memory).Objects()["l"], "\n"); n != 4 {
			t.Errorf("%d lines", n)
		}
	})
}

// waiting is a store that puts when it may go on.
type waiting struct {
	binarycache.Store
	waits atomic.Bool
	goOn  chan struct{}
}

func (s *waiting) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if s.waits.Load() {
		select {
		case <-s.goOn:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return s.Store.Put(ctx, o, body, c)
}

type failing struct {
	binarycache.Store
	err error
}

func (f *failing) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if f.err != nil {
		return "", f.err
	}
	return f.Store.Put(ctx, o, body, c)
}

func TestNil(t *testing.T) {
	var l *Ledger
	if l.Find(hashOf(path1), sri(1)) != New || l.Add(Line{}) != nil || l.Close() != nil {
		t.Error("a nil ledger is none")
	}
}

// repeated is a line without end.
type repeated struct {
	line string
	at   int
}

func (r *repeated) Read(b []byte) (int, error) {
	n := copy(b, r.line[r.at:])
	r.at = (r.at + n) % len(r.line)
	return n, nil
}

// A ledger without end is an error, although no line of it is wrong.
func TestEndlessLedger(t *testing.T) {
	old := maxText
	defer func() { maxText = old }()
	maxText = 1 << 20
	line := `{"ledger":"narseal/1","command":"c","options":"o"}` + "\n"
	_, err := Read(&repeated{line: line}, func(int, Work) error { return nil }, func(int, *Line) error { return nil }, nil)
	if err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("one line for ever: %v", err)
	}
}
