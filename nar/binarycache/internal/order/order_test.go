package order

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"narseal/nar/binarycache/internal/spill"
)

// Of a path that is done, little is kept.
func TestMemory(t *testing.T) {
	const n = 100_000
	o := New(true, true, nil)
	defer o.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		name := fmt.Sprintf("%032d.narinfo", i)
		if !o.List(name) || o.List(name) {
			t.Fatalf("%s: listed twice", name)
		}
		if ok, wasListed := o.Begin(KeyOf(name)); !ok || !wasListed {
			t.Fatalf("%s: %v, %v", name, ok, wasListed)
		}
		o.Settle(KeyOf(name), Settled)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapInuse) - int64(before.HeapInuse)) / n; each > 64 {
		t.Errorf("%d bytes a path", each)
	} else {
		t.Logf("%d bytes a path", each)
	}
}

// Of a path that waits, little is kept in memory, however many references it has.
func TestParkedMemory(t *testing.T) {
	const n = 2000
	o := New(true, false, func() (spill.File, error) { return os.CreateTemp(t.TempDir(), "") })
	defer o.Close()
	keys := make([]Key, n)
	for i := range keys {
		keys[i] = KeyOf(fmt.Sprintf("%032d.narinfo", i))
	}
	o.Expect(keys)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, k := range keys {
		if ok, err := o.Park(k, keys, []byte("text of "+k.InfoName())); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapInuse) - int64(before.HeapInuse) - spill.Memory) / n; each > 400 {
		t.Errorf("%d bytes for each path with %d references", each, n)
	}
	// They are ready when all that they wait for are settled, in any order.
	ready := map[Key]bool{}
	for i, at := range rand.Perm(n) {
		for _, p := range o.Settle(keys[at], Settled) {
			if b, err := o.Take(p); err != nil || string(b) != "text of "+p.InfoName() {
				t.Fatalf("got %q, %v", b, err)
			}
			ready[p.Key] = true
		}
		if i < n-1 && len(ready) > 0 {
			t.Fatalf("%d are ready after %d of %d", len(ready), i+1, n)
		}
	}
	if len(ready) != n {
		t.Errorf("%d are ready, want %d", len(ready), n)
	}
}

// A path waits for the last of its references, whatever becomes of them.
func TestWait(t *testing.T) {
	o := New(true, false, nil)
	defer o.Close()
	key := func(c byte) Key { return Key{c} }
	for c := range byte(4) {
		o.Expect([]Key{key(c)})
	}
	ok, err := o.Park(key(9), []Key{key(0), key(1), key(2), key(3), key(8)}, []byte("text"))
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	for c := range byte(3) {
		if ready := o.Settle(key(c), Failed-Progress(c)); len(ready) > 0 {
			t.Errorf("ready after %d of 4", c+1)
		}
	}
	ready := o.Settle(key(3), Settled)
	if len(ready) != 1 || ready[0].Key != key(9) {
		t.Fatalf("ready: %v", ready)
	}
	if b, err := o.Take(ready[0]); string(b) != "text" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if ok, err := o.Park(key(9), []Key{key(0), key(3), key(8)}, nil); ok || err != nil {
		t.Errorf("waits for what is settled: %v, %v", ok, err)
	}
	if len(o.Rest()) > 0 {
		t.Error("somebody waits")
	}
}
