package worklist

import (
	"hash/maphash"
	"iter"
)

// A set of hash parts takes 25 to 50 bytes for each. A cache can choose them, but not where they are put.
type set struct {
	slots []Hash // a power of 2 of them; all zeros: free
	used  int
	zero  bool // the hash part of all zeros is in the set
	seed  maphash.Seed
}

const minSlots = 1 << 10

func newSet() *set { return &set{slots: make([]Hash, minSlots), seed: maphash.MakeSeed()} }

// add adds h, and reports whether it was not there.
func (s *set) add(h Hash) bool {
	if h == (Hash{}) {
		added := !s.zero
		s.zero = true
		return added
	}
	at := s.find(h)
	if *at == h {
		return false
	}
	*at = h
	if s.used++; s.used > len(s.slots)/5*4 {
		s.grow()
	}
	return true
}

func (s *set) has(h Hash) bool {
	if h == (Hash{}) {
		return s.zero
	}
	return *s.find(h) == h
}

// all goes through the set, in no order.
func (s *set) all() iter.Seq[Hash] {
	return func(yield func(Hash) bool) {
		if s.zero && !yield(Hash{}) {
			return
		}
		for _, h := range s.slots {
			if h != (Hash{}) && !yield(h) {
				return
			}
		}
	}
}

// find returns the slot of h, or the free one where it belongs.
func (s *set) find(h Hash) *Hash {
	for i := maphash.Bytes(s.seed, h[:]); ; i++ {
		at := &s.slots[i&uint64(len(s.slots)-1)]
		if *at == h || *at == (Hash{}) {
			return at
		}
	}
}

func (s *set) grow() {
	old := s.slots
	s.slots = make([]Hash, 2*len(old))
	for _, h := range old {
		if h != (Hash{}) {
			*s.find(h) = h
		}
	}
}

func (s *set) len() int {
	if s.zero {
		return s.used + 1
	}
	return s.used
}
