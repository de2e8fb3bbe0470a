package binarycache

import (
	"os"
	"strings"
	"testing"
)

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(dir, "work")
	if err != nil {
		t.Fatal(err)
	}
	a := record{In: identify("a.narinfo", []byte("1")), Out: identify("b.narinfo", []byte("2")), OldNAR: "nar/1", NewNAR: "nar/2"}
	b := record{In: identify("c.narinfo", []byte("3")), Out: identify("c.narinfo", []byte("3"))}
	for _, r := range []record{a, b} {
		if err := j.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(false, false); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := openJournal(dir, "other work"); err != nil || len(other.done) > 0 || other.close(true, false) != nil {
		t.Errorf("of other work: %+v, %v", other, err)
	}

	// However it was cut off, the whole lines count, and it goes on behind them.
	lines := strings.SplitAfter(string(whole), "\n")
	for n := range len(whole) + 1 {
		if err := os.WriteFile(j.path, whole[:n], 0o666); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(dir, "work")
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		_, hasA := j.find(a.In)
		_, hasB := j.find(b.In)
		if hasA != (n >= len(lines[0])) || hasB != (n == len(whole)) || j.made(a.Out) != hasA || j.made(a.In) {
			t.Errorf("cut at %d: has %v, %v", n, hasA, hasB)
		}
		if err := j.add(b); err != nil {
			t.Fatal(err)
		}
		if err := j.close(false, false); err != nil {
			t.Fatal(err)
		}
		j, err = openJournal(dir, "work")
		if err != nil {
			t.Fatalf("cut at %d, continued: %v", n, err)
		}
		if got, ok := j.find(b.In); !ok || got != b {
			t.Errorf("cut at %d, continued: %+v", n, j.done)
		}
		if got := j.records(); hasA && (len(got) != 1 || got[0] != a) {
			t.Errorf("cut at %d: records %+v", n, got)
		}
		// Of finished work the changes may be kept.
		if err := j.close(true, true); err != nil {
			t.Fatal(err)
		}
		if j, err = openJournal(dir, "work"); err != nil {
			t.Fatal(err)
		}
		_, hasB = j.find(b.In)
		if got, ok := j.find(a.In); hasB || ok != hasA || ok && got != a {
			t.Errorf("cut at %d, finished: %+v", n, j.done)
		}
		if err := j.close(true, false); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}

	if err := os.WriteFile(j.path, []byte("garbage\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := openJournal(dir, "work"); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("garbage: %v", err)
	}
}
