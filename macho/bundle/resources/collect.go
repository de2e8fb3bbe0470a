package resources

import (
	"runtime"
	"sync/atomic"
)

// collectAfter is after how many entries garbage is collected: decoding one leaves about 10 KB of garbage, and that of a
// large list would take twice as much memory as everything else.
const collectAfter = 512

// collection counts the lists that are being parsed in the process, and how often they have asked for a collection since
// the last one. A collection takes as long as there is memory in use, so it serves all of them.
type collection struct{ lists, asked atomic.Int64 }

var garbage collection

func (c *collection) begin() { c.lists.Add(1) }

func (c *collection) end() { c.lists.Add(-1) }

// ask collects garbage when as many lists as there are have asked.
func (c *collection) ask(collect func()) {
	if c.asked.Add(1) >= c.lists.Load() {
		c.asked.Store(0)
		collect()
	}
}

func collectGarbage() { garbage.ask(runtime.GC) }
