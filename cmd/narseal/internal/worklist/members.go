package worklist

import (
	"fmt"
	"sync"
)

// Members holds the paths of a closure. The search trusts the references that the cache states. When a path is
// processed, its narinfo is checked, and its references must then be members, too. A nil Members requires nothing.
type Members struct {
	mu      sync.Mutex
	paths   *Set     // paths that were found or are required
	found   []uint32 // their numbers, in the order in which they were found
	isFound []uint64 // a bit for each number; the last ones may be missing
}

// NewMembers returns empty Members.
func NewMembers() *Members { return &Members{paths: NewSet()} }

// add adds a path that was found. It returns whether it was found for the first time, and the number of all paths that
// were found or are required.
func (m *Members) add(h Hash) (n int, added bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, _ := m.paths.Add(h)
	if m.wasFound(i) {
		return m.paths.Len(), false
	}
	for len(m.isFound) <= i/64 {
		m.isFound = append(m.isFound, 0)
	}
	m.isFound[i/64] |= 1 << (i % 64)
	m.found = append(m.found, uint32(i))
	return m.paths.Len(), true
}

func (m *Members) wasFound(i int) bool {
	return i/64 < len(m.isFound) && m.isFound[i/64]&(1<<(i%64)) != 0
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

// Err returns an error if a path that is required was not found.
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
	for m.wasFound(one) {
		one++
	}
	return fmt.Errorf("closure: %d paths, such as %v, were not checked: when the closure was searched, the cache did not say that it refers to them", n, m.paths.at(one))
}
