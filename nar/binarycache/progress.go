package binarycache

import (
	"io"
	"sync/atomic"

	"narseal/nar/binarycache/internal/stream"
)

// A planned counts the bytes of the work on one path: those announced by Planned, and those done.
type planned struct {
	run  *run
	all  int64
	done atomic.Int64
}

// add announces more work.
func (p *planned) add(n int64) {
	p.all += n
	p.run.plan(0, n)
}

// end withdraws the announced work that was not done, for example of a failed path, so that the sums agree at the end.
func (p *planned) end() { p.add(p.done.Load() - p.all) }

// count returns a function that counts work done and calls f, which may be nil.
func (p *planned) count(f func(int)) func(int) {
	return func(n int) {
		p.done.Add(int64(n))
		if f != nil {
			f(n)
		}
	}
}

// countBody counts the bytes read from a body, each once, however often it is read.
func (p *planned) countBody(body io.ReadSeeker, size int64) io.ReadSeeker {
	return stream.Count(body, size, p.count(p.run.Written))
}
