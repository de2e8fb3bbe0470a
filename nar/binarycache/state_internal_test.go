package binarycache

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	open := func(work string) (*State, error) { return OpenState(dir, "/the/cache", work) }
	s, err := open("work")
	if err != nil {
		t.Fatal(err)
	}
	a := record{In: identify(strings.Repeat("a", 32)+".narinfo", []byte("1")), Out: identify(strings.Repeat("b", 32)+".narinfo", []byte("2")), OldNAR: "nar/1.nar", NewNAR: "nar/2.nar"}
	c := strings.Repeat("c", 32) + ".narinfo"
	b := record{In: identify(c, []byte("3")), Out: identify(c, []byte("3")), OldNAR: "nar/3.nar", NewNAR: "nar/3.nar"}
	for _, r := range []record{a, b} {
		if err := s.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open("work"); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("a second run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := open("other work"); err != nil || len(other.done) > 0 || other.Close() != nil {
		t.Errorf("of other work: %+v, %v", other, err)
	}

	// However it was cut off, the whole lines count, and it goes on behind them.
	lines := strings.SplitAfter(string(whole), "\n")
	for n := range len(whole) + 1 {
		if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := open("work")
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		_, hasA := s.find(a.In)
		_, hasB := s.find(b.In)
		if hasA != (n >= len(lines[0]+lines[1])) || hasB != (n == len(whole)) || s.made(a.Out) != hasA || s.made(a.In) {
			t.Errorf("cut at %d: has %v, %v", n, hasA, hasB)
		}
		if err := s.add(b); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = open("work"); err != nil {
			t.Fatalf("cut at %d, continued: %v", n, err)
		}
		if got, ok := s.find(b.In); !ok || got != b {
			t.Errorf("cut at %d, continued: %+v", n, s.done)
		}
		if got := s.changes(); hasA && (len(got) != 1 || got[0] != a) {
			t.Errorf("cut at %d: records %+v", n, got)
		}
		if err := s.finish(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}

	for text, want := range map[string]string{"garbage\n": "line 1", lines[0] + "{}\n": "line 2",
		strings.Replace(lines[0], "/the/cache", "/another", 1): "another work or cache"} {
		if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open("work"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
