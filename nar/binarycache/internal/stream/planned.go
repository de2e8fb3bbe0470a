package stream

import (
	"io"
	"sync/atomic"
)

// A Planned counts the bytes of the work on one path: those announced, and those done.
type Planned struct {
	Announce func(n int64) // is called with the bytes that are added to the announced work

	all  int64
	done atomic.Int64
}

// Is sets the work that was announced before.
func (p *Planned) Is(n int64) { p.all = n }

// Add announces more work.
func (p *Planned) Add(n int64) {
	p.all += n
	p.Announce(n)
}

// End withdraws the announced work that was not done, for example of a failed path, so that the sums agree at the end.
func (p *Planned) End() { p.Add(p.done.Load() - p.all) }

// Count returns a function that counts work done and calls f, which may be nil.
func (p *Planned) Count(f func(int)) func(int) {
	return func(n int) {
		p.done.Add(int64(n))
		if f != nil {
			f(n)
		}
	}
}

// CountBody counts the bytes read from a body, each once, however often it is read.
func (p *Planned) CountBody(body io.ReadSeeker, size int64, f func(int)) io.ReadSeeker {
	return Count(body, size, p.Count(f))
}
