package worklist

import "hash/maphash"

// A Set numbers hash parts. Each takes 25 to 30 bytes, and 5 more while the set grows. A cache chooses the hash parts,
// but cannot choose their slots, since they are hashed with a random seed.
type Set struct {
	hashes Chunks[Hash] // in the order in which they were added
	used   int          // how many there are
	slots  []uint32     // a power of 2 of them: numbers of hashes, from 1; 0: free
	seed   maphash.Seed
}

const (
	minSlots  = 1 << 10
	chunkSize = 1 << 12
)

// NewSet returns an empty Set.
func NewSet() *Set { return &Set{slots: make([]uint32, minSlots), seed: maphash.MakeSeed()} }

// at returns the hash part that was added as number i, from 0.
func (s *Set) at(i int) Hash { return *s.hashes.At(i) }

// Add adds h, and returns its number and whether it is new.
func (s *Set) Add(h Hash) (i int, added bool) {
	slot := s.find(h)
	if *slot != 0 {
		return int(*slot) - 1, false
	}
	s.hashes.Append(h)
	s.used++
	*slot = uint32(s.used)
	if s.used > len(s.slots)/5*4 {
		s.grow()
	}
	return s.used - 1, true
}

// find returns the slot of h, or the free slot for it.
func (s *Set) find(h Hash) *uint32 {
	for i := maphash.Bytes(s.seed, h[:]); ; i++ {
		slot := &s.slots[i&uint64(len(s.slots)-1)]
		if *slot == 0 || s.at(int(*slot)-1) == h {
			return slot
		}
	}
}

func (s *Set) grow() {
	s.slots = make([]uint32, 2*len(s.slots))
	for i := range s.used {
		*s.find(s.at(i)) = uint32(i + 1)
	}
}

// Len returns the number of hash parts.
func (s *Set) Len() int { return s.used }

// Number returns the number of h, if it was added.
func (s *Set) Number(h Hash) (i int, ok bool) {
	slot := *s.find(h)
	return int(slot) - 1, slot != 0
}

// Chunks is a list whose memory grows with its length: nothing is copied, so that no garbage of the same size is left.
type Chunks[T any] struct {
	chunks [][]T // all but the last are full
}

// Append adds an element.
func (c *Chunks[T]) Append(v T) {
	if n := len(c.chunks); n == 0 || len(c.chunks[n-1]) == chunkSize {
		c.chunks = append(c.chunks, make([]T, 0, chunkSize))
	}
	last := &c.chunks[len(c.chunks)-1]
	*last = append(*last, v)
}

// At returns an element, from 0.
func (c *Chunks[T]) At(i int) *T { return &c.chunks[i/chunkSize][i%chunkSize] }

// Len returns the number of elements.
func (c *Chunks[T]) Len() int {
	if len(c.chunks) == 0 {
		return 0
	}
	return (len(c.chunks)-1)*chunkSize + len(c.chunks[len(c.chunks)-1])
}
