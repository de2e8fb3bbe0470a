package resources

import (
	"runtime"
	"sync/atomic"
)

// collectAfter is the number of entries after which garbage is collected. Decoding an entry leaves about 10 KB of
// garbage; that of a large list would take twice as much memory as everything else.
const collectAfter = 512

// collection counts the lists that are being parsed in the process, and their requests for a collection since the last
// one. A collection takes time in proportion to the memory in use, so one collection serves all lists.
type collection struct{ lists, asked atomic.Int64 }

var garbage collection

func (c *collection) begin() { c.lists.Add(1) }

func (c *collection) end() { c.lists.Add(-1) }

// ask collects garbage when there are as many requests as lists.
func (c *collection) ask(collect func()) {
	if c.asked.Add(1) >= c.lists.Load() {
		c.asked.Store(0)
		collect()
	}
}

func collectGarbage() { garbage.ask(runtime.GC) }
