package ledger

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/worklist"
)

// A path of a ledger takes what SECURITY.md says: also while the table grows, and if lines repeat.
func TestTableMemory(t *testing.T) {
	const n = 1 << 18 * 4 / 5 // where the slots are as many as they get for their paths, and one more path doubles them
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var tab table
	add := func(i int) worklist.Hash {
		var h worklist.Hash
		binary.BigEndian.PutUint32(h[3:], uint32(i)*2654435761)
		if err := tab.add(h, entry{old: digest{byte(i)}, finished: i%2 == 0}); err != nil {
			t.Fatal(err)
		}
		return h
	}
	before := heap()
	for i := range n + 2 {
		add(i)
	}
	if each := (heap() - before) / n; each > 70 {
		t.Errorf("%d bytes for each path", each)
	}
	var allocated runtime.MemStats
	runtime.ReadMemStats(&allocated)
	from := allocated.TotalAlloc
	for i := range n {
		add(i)
	}
	if runtime.ReadMemStats(&allocated); allocated.TotalAlloc-from > 1<<20 {
		t.Errorf("%d bytes are allocated for lines that repeat", allocated.TotalAlloc-from)
	}
	for i := range n + 2 {
		h := add(i)
		if e := tab.find(h); e == nil || e.old != (digest{byte(i)}) || e.finished != (i%2 == 0) {
			t.Fatalf("%d: got %v", i, e)
		}
	}
	if e := tab.find(worklist.Hash{19: 1}); e != nil {
		t.Errorf("a path that is not there: %v", e)
	}
}

// More paths than a run remembers are an error, and lines of the paths that it has are none.
func TestTableIsFull(t *testing.T) {
	old := maxPaths
	defer func() { maxPaths = old }()
	maxPaths = 2
	var tab table
	for i, h := range []byte{1, 2, 1, 2, 3} {
		err := tab.add(worklist.Hash{h}, entry{})
		if (err == nil) != (h < 3) || err != nil && !strings.Contains(err.Error(), "more than 2 paths") {
			t.Errorf("%d: %v", i, err)
		}
	}
}
