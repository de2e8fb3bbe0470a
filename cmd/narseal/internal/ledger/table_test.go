package ledger

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/worklist"
)

// A table finds the last line of each path, as a map does.
func TestTable(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var got table
	want := map[worklist.Hash]entry{}
	for range 50_000 {
		e := entry{hash: worklist.Hash{byte(r.IntN(8)), 19: byte(r.IntN(256))}}
		if e.finished = r.IntN(4) > 0; e.finished {
			e.old = digest{byte(r.IntN(256)), 1}
			if r.IntN(3) == 0 {
				e.new = digest{byte(r.IntN(256)), 2}
			}
		}
		want[e.hash] = e
		if err := got.add(&e); err != nil {
			t.Fatal(err)
		}
	}
	for h, e := range want {
		if found := got.find(h); found == nil || *found != e {
			t.Errorf("%v: got %+v, want %+v", h, found, e)
		}
	}
	if got.find(worklist.Hash{200}) != nil || new(table).find(worklist.Hash{}) != nil {
		t.Error("a path is there that was never added")
	}
	if n := got.new.Len(); n > len(want) {
		t.Errorf("%d new digests for %d paths", n, len(want))
	}
}

// Little is kept of a path in a ledger, and little garbage is made while it is read.
func TestTableMemory(t *testing.T) {
	const n = 1 << 18 * 4 / 5 // where the table of slots is as large as it gets for its paths, and one more makes it larger
	memory := func() (heap, all uint64) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, m.TotalAlloc
	}
	heap, all := memory()
	var table table
	for i := range n + 2 {
		e := entry{finished: true, old: digest{1}, new: digest{2}}
		binary.BigEndian.PutUint32(e.hash[:], uint32(i))
		if err := table.add(&e); err != nil {
			t.Fatal(err)
		}
	}
	heapAfter, allAfter := memory()
	if each := (heapAfter - heap) / n; each > 72 {
		t.Errorf("%d bytes for each path", each)
	}
	if each := (allAfter - all) / n; each > 90 {
		t.Errorf("%d bytes are allocated for each path", each)
	}
	if table.find(worklist.Hash{}) == nil {
		t.Error("the first path is not there")
	}
}

// More paths than a run remembers are an error, and lines of the paths that it has are none.
func TestTableIsFull(t *testing.T) {
	old := maxPaths
	defer func() { maxPaths = old }()
	maxPaths = 2
	var tab table
	for i, h := range []byte{1, 2, 1, 2, 3} {
		err := tab.add(&entry{hash: worklist.Hash{h}})
		if (err == nil) != (h < 3) || err != nil && !strings.Contains(err.Error(), "more than 2 paths") {
			t.Errorf("%d: %v", i, err)
		}
	}
}
