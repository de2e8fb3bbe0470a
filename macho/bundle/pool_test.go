package bundle

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"narseal/macho/bundle/resources"
)

// Checkers that take and give back memory in any order never exceed the Pool by more than one of them and a MiB for each,
// and all come to their end.
func TestPool(t *testing.T) {
	const checkers, size, most = 16, 8 << 20, 20 << 20
	p := NewPool(size)
	var total, peak atomic.Int64
	var wait sync.WaitGroup
	for i := range checkers {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		wait.Go(func() {
			s := share{pool: p}
			n := 0
			for range 2000 {
				to := max(0, min(most, n+r.IntN(8<<20)-4<<20))
				if r.IntN(20) == 0 {
					to = 0
				}
				if to > n {
					s.fit(to)
				}
				now := total.Add(int64(to - n))
				for old := peak.Load(); now > old && !peak.CompareAndSwap(old, now); old = peak.Load() {
				}
				if to <= n {
					s.fit(to)
				}
				n = to
				runtime.Gosched()
			}
			total.Add(int64(-n))
			s.fit(0)
		})
	}
	wait.Wait()
	if want := int64(size + most + checkers*freeMemory); peak.Load() > want {
		t.Errorf("at most %d bytes were kept, want at most %d", peak.Load(), want)
	}
	if p.free != size || len(p.turn) != 0 {
		t.Errorf("%d of %d bytes are free at the end, %d turns are taken", p.free, size, len(p.turn))
	}
}

// Many large bundles that are checked at once wait for each other, and come to their end. A Checker that ends early gives
// back what it has.
func TestPoolOfCheckers(t *testing.T) {
	p := NewPool(1 << 20)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			c := Checker{CheckResources: true, Pool: p}
			defer c.Release()
			c.Reach(1)
			c.AddItem(1, Item{Name: "A.app", Kind: resources.Directory})
			c.Reach(2)
			c.AddItem(2, Item{Name: "_CodeSignature", Kind: resources.Directory})
			c.Reach(3)
			d := c.Count(NewItemDigest(codeResourcesName))
			for range 2000 {
				d.Write([]byte(strings.Repeat("x", 1000)))
			}
			if i%4 == 1 {
				return // an error of the input
			}
			c.AddFile(3, func() string { return "/A.app/" + codeResourcesPath }, d)
			c.AddItem(3, Item{Name: codeResourcesName, Digest: d})
			for k := range 2000 {
				c.Reach(2)
				c.AddItem(2, Item{Name: fmt.Sprint(k)})
			}
			c.Reach(0)
			if c.memory.used != 0 || c.memory.reading != 0 || c.memory.share.taken != 0 {
				t.Errorf("%+v is left", c.memory)
			}
		})
	}
	wait.Wait()
	if p.free != 1<<20 || len(p.turn) != 0 {
		t.Errorf("%d bytes are free at the end, %d turns are taken", p.free, len(p.turn))
	}
}
