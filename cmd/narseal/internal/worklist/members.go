package worklist

import (
	"fmt"
	"sync"
)

// Members are the paths that a closure was found to have. The search believes what the cache says of references; a path
// that is worked on is checked, and what it really refers to must be a member, too. A nil Members requires nothing.
type Members struct {
	mu       sync.Mutex
	found    *set
	required *set // that were not found when they were required
}

// NewMembers returns Members without a path.
func NewMembers() *Members { return &Members{found: newSet(), required: newSet()} }

// add notes a path that was found, and returns how many there are.
func (m *Members) add(h Hash) (n int, added bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	added = m.found.add(h)
	return m.found.len(), added
}

// at returns the path that was found as number i, from 0, if there are as many.
func (m *Members) at(i int) (Hash, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i >= m.found.len() {
		return Hash{}, false
	}
	return m.found.at(i), true
}

// Require notes what a member refers to: base names. It may be called while the search goes on, by many goroutines at
// once.
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
		if m.found.has(h) {
			continue
		}
		if m.required.add(h); m.required.len()+m.found.len() > MaxClosure {
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
	n, one := 0, Hash{}
	for h := range m.required.all() {
		if !m.found.has(h) {
			n, one = n+1, h
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("closure: %d paths, such as %v, were not checked: when the closure was searched, the cache did not say that it refers to them", n, one)
}
