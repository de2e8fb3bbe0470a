package bundle

import "sync"

const (
	// DefaultPool is the usual size of a Pool for all paths of a cache or a store, in bytes.
	DefaultPool = 48 << 20
	// freeMemory is the memory that each Checker may use without taking it from its Pool, in bytes. It is enough for
	// most bundles.
	freeMemory = 1 << 20
	// poolChunk is the number of bytes that a Checker takes from the Pool at a time.
	poolChunk = 1 << 20
)

// A Pool limits the memory of Checkers that work at the same time, except for 1 MiB for each of them. If the Pool is
// empty, a Checker waits in AddFile, AddItem, Reach or FileDigest.Write.
//
// All Checkers might wait while they hold the whole Pool. To prevent this deadlock, one waiting Checker at a time may
// exceed the Pool, until it needs no more than before. The limits of a single Checker are constants. So the memory of
// all Checkers is at most the size of the Pool plus that of one Checker.
type Pool struct {
	mu   sync.Mutex
	free int
	turn chan struct{} // holds a value while a Checker has its turn to exceed the Pool
}

// NewPool returns a Pool of this size in bytes.
func NewPool(bytes int) *Pool { return &Pool{free: bytes, turn: make(chan struct{}, 1)} }

func (p *Pool) tryTake(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > p.free {
		return false
	}
	p.free -= n
	return true
}

func (p *Pool) give(n int) {
	p.mu.Lock()
	p.free += n
	p.mu.Unlock()
}

// share is a Checker's part of a Pool.
type share struct {
	pool    *Pool
	taken   int
	hasTurn bool
}

// fit adapts the share for a Checker that uses n bytes: it takes memory from the Pool, or returns memory that is no
// longer needed.
func (s *share) fit(n int) {
	if s.pool == nil {
		return
	}
	n = max(0, n-freeMemory)
	n = (n + poolChunk - 1) / poolChunk * poolChunk
	if s.hasTurn && n <= s.taken {
		s.hasTurn = false
		<-s.pool.turn
	}
	switch {
	case n < s.taken:
		s.pool.give(s.taken - n)
		s.taken = n
	case n > s.taken && !s.hasTurn:
		if s.pool.tryTake(n - s.taken) {
			s.taken = n
			return
		}
		s.pool.turn <- struct{}{}
		s.hasTurn = true
	}
}
