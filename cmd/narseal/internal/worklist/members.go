package worklist

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
)

// Members holds the paths of a closure. The search trusts the references that the cache states. When a path is
// processed, its narinfo is checked, and its references must then be members, too. A nil Members requires nothing.
//
// If the search cannot read the references of a path, the path is doubted. Processing it settles that: the path fails, is
// missing, or its references are required. A doubt that is left means that more paths may belong to the closure.
type Members struct {
	mu      sync.Mutex
	paths   *Set     // paths that were found or are required
	found   []uint32 // their numbers, in the order in which they were found
	isFound numbers
	doubted numbers
	missing numbers // those of doubted that the cache does not have
	leftOut numbers
	settled numbers
	doubts  []Doubt // the first ones, at most maxDoubts
}

// A Doubt is a path whose references the search does not know, and why.
type Doubt struct {
	Hash   Hash
	Reason string
}

// maxDoubts bounds the Doubts that Members keeps with their reasons. All are counted.
const maxDoubts = 1 << 10

// numbers is a set of the numbers of paths, as bits. The last words may be missing.
type numbers []uint64

func (n *numbers) add(i int) {
	for len(*n) <= i/64 {
		*n = append(*n, 0)
	}
	(*n)[i/64] |= 1 << (i % 64)
}

func (n numbers) has(i int) bool { return i/64 < len(n) && n[i/64]&(1<<(i%64)) != 0 }

func (n numbers) word(i int) uint64 {
	if i < len(n) {
		return n[i]
	}
	return 0
}

// NewMembers returns empty Members.
func NewMembers() *Members { return &Members{paths: NewSet()} }

// add adds a path that was found. It returns whether it was found for the first time, and the number of all paths that
// were found or are required.
func (m *Members) add(h Hash) (n int, added bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, _ := m.paths.Add(h)
	if m.isFound.has(i) {
		return m.paths.Len(), false
	}
	m.isFound.add(i)
	m.found = append(m.found, uint32(i))
	return m.paths.Len(), true
}

// at returns the path that was found as number i, from 0, if there is one.
func (m *Members) at(i int) (Hash, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i >= len(m.found) {
		return Hash{}, false
	}
	return m.paths.at(int(m.found[i])), true
}

// Require records that these base names, the references of a member, must be members. Several goroutines may call it at
// the same time, and during the search.
func (m *Members) Require(references []string) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range references {
		h, err := parsePath(name)
		if err != nil {
			return err
		}
		if _, added := m.paths.Add(h); added && m.paths.Len() > MaxClosure {
			return fmt.Errorf("closure: more than %d paths, with those outside that it refers to", MaxClosure)
		}
	}
	return nil
}

// Doubt records why the search does not know the references of a path.
func (m *Members) Doubt(h Hash, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, _ := m.paths.Add(h)
	if m.doubted.has(i) {
		return
	}
	m.doubted.add(i)
	if len(m.doubts) < maxDoubts {
		m.doubts = append(m.doubts, Doubt{h, strings.Clone(clip(reason))})
	}
}

// DoubtMissing is like Doubt, for a path that the cache does not have.
func (m *Members) DoubtMissing(h Hash) {
	m.Doubt(h, "the cache does not have it")
	m.addTo(&m.missing, h)
}

// LeaveOut records that a path was not processed because the user wants that. That settles only that it is missing.
func (m *Members) LeaveOut(h Hash) {
	if m != nil {
		m.addTo(&m.leftOut, h)
	}
}

// Settle records that a path was processed.
func (m *Members) Settle(h Hash) {
	if m != nil {
		m.addTo(&m.settled, h)
	}
}

// addTo adds the number of a path, if it has one.
func (m *Members) addTo(n *numbers, h Hash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, ok := m.paths.Number(h); ok {
		n.add(i)
	}
}

// Doubts returns the doubted paths that were not processed, and their number: only the first ones are listed.
func (m *Members) Doubts() (list []Doubt, n int) {
	if m == nil {
		return nil, 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	left := slices.Clone(m.doubted)
	for i := range left {
		left[i] &^= m.settled.word(i) | m.leftOut.word(i)&m.missing.word(i)
		n += bits.OnesCount64(left[i])
	}
	for _, d := range m.doubts {
		if i, ok := m.paths.Number(d.Hash); ok && left.has(i) {
			list = append(list, d)
		}
	}
	return list, n
}

// Digest returns the number of paths that were found, and the SHA-256 of their hash parts in order. The search has ended.
func (m *Members) Digest() (n int, sum [sha256.Size]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := slices.Clone(m.found)
	slices.SortFunc(found, func(i, j uint32) int {
		a, b := m.paths.at(int(i)), m.paths.at(int(j))
		return bytes.Compare(a[:], b[:])
	})
	h := sha256.New()
	for _, i := range found {
		p := m.paths.at(int(i))
		h.Write(p[:])
	}
	return len(found), [sha256.Size]byte(h.Sum(nil))
}

// An UnfoundError is the error if paths that are required were not found.
type UnfoundError struct {
	First Hash // one of them
	Count int
}

func (e *UnfoundError) Error() string {
	return fmt.Sprintf("closure: %d paths, such as %v, were not checked: when the closure was searched, the cache did not say that it refers to them", e.Count, e.First)
}

// Err returns an [UnfoundError] if a path that is required was not found.
func (m *Members) Err() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.paths.Len() - len(m.found)
	if n == 0 {
		return nil
	}
	one := 0
	for m.isFound.has(one) {
		one++
	}
	return &UnfoundError{m.paths.at(one), n}
}
