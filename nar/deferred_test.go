package nar_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"narseal/nar"
	"narseal/nar/nartest"
)

// deferredCalls returns calls that write a tree with some entries deferred. A deferred entry is written anywhere before
// its place.
func deferredCalls(rnd *rand.Rand, e *nar.Entry, n nartest.Node, deferred bool) []call {
	entry := *e
	var calls []call
	switch n := n.(type) {
	case nartest.File:
		entry.Type, entry.Size = nar.TypeRegular, int64(len(n))
		calls = []call{&entry, string(n)}
	case nartest.Exec:
		entry.Type, entry.Size, entry.Executable = nar.TypeRegular, int64(len(n)), true
		calls = []call{&entry, string(n)}
	case nartest.Symlink:
		entry.Type, entry.Target = nar.TypeSymlink, []byte(n)
		calls = []call{&entry}
	case nartest.Dir:
		entry.Type = nar.TypeDirectory
		calls = []call{&entry}
		type child struct {
			name     string
			deferred bool
		}
		var order []child
		for i, name := range slices.Sorted(maps.Keys(n)) {
			if rnd.IntN(2) == 0 {
				order = append(order, child{name, false})
			} else {
				order = slices.Insert(order, rnd.IntN(i+1), child{name, true})
			}
		}
		for _, c := range order {
			calls = append(calls, deferredCalls(rnd, &nar.Entry{Depth: e.Depth + 1, Name: []byte(c.name)}, n[c.name], c.deferred)...)
		}
	}
	if deferred {
		calls[0] = deferredCall{&entry}
	}
	return calls
}

// Deferred entries end up in their places, whatever the order of the calls.
func TestWriterDeferred(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	each(t, func(t *testing.T, root nartest.Node, data []byte) {
		for range 50 {
			calls := append(deferredCalls(rnd, &nar.Entry{}, root, rnd.IntN(2) == 0), closeCall{})
			var out bytes.Buffer
			w := nar.NewWriterSize(&out, smallBuffer)
			for i, c := range calls {
				if err := do(w, c); err != nil {
					t.Fatalf("call %d of %v: %v", i, calls, err)
				}
			}
			if !bytes.Equal(out.Bytes(), data) {
				t.Fatalf("got  %.1000q\nwant %.1000q", out.Bytes(), data)
			}
			if w.Offset() != int64(len(data)) {
				t.Fatalf("offset %d of %d", w.Offset(), len(data))
			}
		}
	})
}

func TestWriterDeferredRefuses(t *testing.T) {
	deferred := func(e *nar.Entry) call { return deferredCall{e} }
	for _, c := range []struct {
		name  string
		calls []call
		path  string
		want  string
	}{
		{"after a greater sibling", []call{dir(0, ""), file(1, "b", 0), deferred(file(1, "a", 0))}, "/a", `names out of order: "a" after "b"`},
		{"name of an entry that is out", []call{dir(0, ""), file(1, "a", 0), deferred(file(1, "a", 0))}, "/a", "name given twice"},
		{"name of a later entry", []call{dir(0, ""), deferred(file(1, "a", 0)), file(1, "a", 0), closeCall{}}, "/a", "name given twice"},
		{"two of a name", []call{dir(0, ""), deferred(file(1, "a", 0)), deferred(file(1, "a", 0)), closeCall{}}, "/a", "name given twice"},
		{"in a deferred directory", []call{dir(0, ""), deferred(dir(1, "d")), deferred(file(2, "a", 0)), deferred(dir(2, "a")), dir(1, "c")}, "/d/a", "name given twice"},
		{"bad name", []call{dir(0, ""), deferred(file(1, "a/b", 0))}, "/", "name contains a slash"},
		{"bad target", []call{dir(0, ""), deferred(link(1, "a", ""))}, "/a", "target is empty"},
		{"contents missing", []call{dir(0, ""), deferred(file(1, "a", 2)), "x", closeCall{}}, "/a", "1 bytes of the entry's size are missing"},
		{"below a deferred file", []call{dir(0, ""), deferred(file(1, "a", 0)), file(2, "b", 0)}, "", "depth 2"},
		{"two roots", []call{deferred(dir(0, "")), deferred(dir(0, ""))}, "", "depth 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			w := nar.NewWriter(&out)
			last := len(c.calls) - 1
			for i, call := range c.calls[:last] {
				if err := do(w, call); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
			}
			err := do(w, c.calls[last])
			var bad *nar.FormatError
			if !errors.As(err, &bad) || bad.Path != c.path || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want path %q and %q", err, c.path, c.want)
			}
			if err := w.Close(); err == nil {
				t.Error("Close gives no error")
			}
			if _, ok := decode(out.Bytes()); ok {
				t.Error("what was written is a complete archive")
			}
		})
	}
}

// faultySpill fails in Write or WriteTo, or loses a byte.
type faultySpill struct {
	bytes.Buffer
	take, give error
	lose       bool
}

func (s *faultySpill) Write(p []byte) (int, error) {
	if s.take != nil {
		return 0, s.take
	}
	return s.Buffer.Write(p)
}

func (s *faultySpill) WriteTo(w io.Writer) (int64, error) {
	if s.give != nil {
		return 0, s.give
	}
	if s.lose {
		s.Buffer.Truncate(s.Buffer.Len() - 1)
	}
	return s.Buffer.WriteTo(w)
}

func TestWriterDeferredSpillFails(t *testing.T) {
	fault := errors.New("fault")
	for _, s := range []*faultySpill{{take: fault}, {give: fault}, {lose: true}} {
		var out bytes.Buffer
		w := nar.NewWriter(&out)
		if err := w.WriteEntry(dir(0, "")); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteEntryDeferred(file(1, "a", 0), s); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); !errors.Is(err, fault) && !(s.lose && err != nil && strings.Contains(err.Error(), "returned 183 bytes of 184")) {
			t.Errorf("Close gives %v", err)
		}
		if out.Len() > 0 {
			t.Errorf("%d bytes were written", out.Len())
		}
	}
}

// A deferred entry costs the same however many wait, and whatever their order. Nested ones share one buffer.
func TestWriterDeferredMany(t *testing.T) {
	const n = 30_000
	w := nar.NewWriter(io.Discard)
	if err := w.WriteEntry(dir(0, "")); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.WriteEntryDeferred(file(1, fmt.Sprintf("z%08d", n-i), 0), new(bytes.Buffer)); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteEntry(file(1, fmt.Sprintf("a%08d", i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	const levels, size = 10_000, 1 << 20
	got := allocated(func() {
		w := nar.NewWriter(io.Discard)
		err := w.WriteEntry(dir(0, ""))
		for i := 1; err == nil && i <= levels; i++ {
			err = w.WriteEntryDeferred(dir(i, "d"), new(bytes.Buffer))
		}
		if err == nil {
			err = w.WriteEntryDeferred(file(levels+1, "f", size), new(bytes.Buffer))
		}
		if err == nil {
			_, err = w.Write(make([]byte, size))
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil || w.Offset() < size {
			t.Fatal(w.Offset(), err)
		}
	})
	if got > 64<<20 {
		t.Errorf("%d bytes allocated for %d levels", got, levels)
	}
}
