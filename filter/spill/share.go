package spill

import "runtime/debug"

// A Budget is memory, in bytes, that several runs share. A *semaphore.Weighted of golang.org/x/sync is one.
type Budget interface {
	TryAcquire(n int64) bool
	Release(n int64)
}

// share is the part of a Budget that one run has.
type share struct {
	budget Budget
	taken  int64
}

// largeRelease is the memory in bytes that is returned to the system before others may take it. Garbage of this size
// would otherwise stay in memory beside theirs.
const largeRelease = 32 << 20

// Share returns Options for one run, whose Buffers and Queues take their memory from the Budget: what does not fit goes
// to the File. They must not be used concurrently. end returns all that the run has taken.
func (o Options) Share() (shared Options, end func()) {
	if o.Budget == nil {
		return o, func() {}
	}
	o.share = &share{budget: o.Budget}
	return o, func() { o.Give(o.share.taken) }
}

// Take takes n bytes from the Budget, and reports whether it has as many.
func (o Options) Take(n int64) bool {
	s := o.share
	if s == nil || n <= 0 {
		return true
	}
	if !s.budget.TryAcquire(n) {
		return false
	}
	s.taken += n
	return true
}

// Give returns n bytes, which the run does not use any more, to the Budget.
func (o Options) Give(n int64) {
	s := o.share
	if s == nil || n <= 0 {
		return
	}
	if n >= largeRelease {
		debug.FreeOSMemory()
	}
	s.taken -= n
	s.budget.Release(n)
}
