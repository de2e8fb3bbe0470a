package bundle

import "sync"

const (
	// DefaultPool is the size of the Pool for the paths of a cache or a store, in bytes.
	DefaultPool = 48 << 20
	// freeMemory is what each Checker may keep without asking its Pool, in bytes. It is enough for most bundles.
	freeMemory = 1 << 20
	// poolChunk is how much a Checker takes from the Pool at a time.
	poolChunk = 1 << 20
)

// A Pool bounds the memory of Checkers that work at the same time, beside a MiB for each of them. A Checker waits in
// AddFile, AddItem, Reach or FileDigest.Write until there is room.
//
// Checkers that wait have taken some room before, which could be all of it. So one of them at a time may take whatever
// it needs, without waiting, until it needs no more than it had: at most what a single Checker keeps, whose bounds are
// constants. The memory of all Checkers is then that of the Pool, and that of one Checker more.
type Pool struct {
	mu   sync.Mutex
	free int
	turn chan struct{} // holds a value while a Checker has its turn to exceed the Pool
}

// NewPool returns a Pool of this size, in bytes.
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

// fit takes what is missing for a Checker that keeps n bytes, or gives back what it does not need any more.
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
