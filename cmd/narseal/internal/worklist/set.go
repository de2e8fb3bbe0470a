package worklist

import (
	"hash/maphash"
	"iter"
)

// A set of hash parts takes 30 bytes for each, and 10 more while it grows. It keeps their order. A cache can choose them,
// but not where they are put.
type set struct {
	chunks [][]Hash // in the order in which they were added; all but the last are full
	used   int
	slots  []uint32 // a power of 2 of them: places in chunks, from 1; 0: free
	seed   maphash.Seed
}

const (
	minSlots  = 1 << 10
	chunkSize = 1 << 12
)

func newSet() *set { return &set{slots: make([]uint32, minSlots), seed: maphash.MakeSeed()} }

// at returns what was added as number i, from 0.
func (s *set) at(i int) Hash { return s.chunks[i/chunkSize][i%chunkSize] }

// add adds h, and reports whether it was not there.
func (s *set) add(h Hash) bool {
	slot := s.find(h)
	if *slot != 0 {
		return false
	}
	if s.used%chunkSize == 0 {
		s.chunks = append(s.chunks, make([]Hash, 0, chunkSize))
	}
	last := &s.chunks[len(s.chunks)-1]
	*last = append(*last, h)
	s.used++
	*slot = uint32(s.used)
	if s.used > len(s.slots)/5*4 {
		s.grow()
	}
	return true
}

func (s *set) has(h Hash) bool { return *s.find(h) != 0 }

// all goes through the set, in the order in which it was filled.
func (s *set) all() iter.Seq[Hash] {
	return func(yield func(Hash) bool) {
		for i := range s.used {
			if !yield(s.at(i)) {
				return
			}
		}
	}
}

// find returns the slot of h, or the free one where it belongs.
func (s *set) find(h Hash) *uint32 {
	for i := maphash.Bytes(s.seed, h[:]); ; i++ {
		slot := &s.slots[i&uint64(len(s.slots)-1)]
		if *slot == 0 || s.at(int(*slot)-1) == h {
			return slot
		}
	}
}

func (s *set) grow() {
	s.slots = make([]uint32, 2*len(s.slots))
	for i := range s.used {
		*s.find(s.at(i)) = uint32(i + 1)
	}
}

func (s *set) len() int { return s.used }
