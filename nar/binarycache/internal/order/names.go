package order

import (
	"crypto/sha256"
	"strings"
	"sync"

	"narseal/nar/binarycache/internal/spill"
)

// Names maps NARs to their new names, if Wanted is set. Each takes about 60 bytes of memory; the rest is in a file.
type Names struct {
	mu     sync.Mutex
	Wanted bool
	places map[[16]byte]name
	Text   spill.Buffer
}

type name struct {
	offset int64 // in text, in bytes
	size   int
}

func nameKey(old string) [16]byte {
	h := sha256.Sum256([]byte(strings.ToLower(old)))
	return [16]byte(h[:])
}

// Add records a new name.
func (n *Names) Add(old, to string) error {
	if old == to {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.Wanted {
		return nil
	}
	if n.places == nil {
		n.places = map[[16]byte]name{}
	}
	n.places[nameKey(old)] = name{n.Text.Size(), len(to)}
	_, err := n.Text.Write([]byte(to))
	return err
}

// Len returns the number of names.
func (n *Names) Len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.places)
}

// Get returns the new name, or "".
func (n *Names) Get(old string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.places[nameKey(old)]
	if !ok {
		return "", nil
	}
	b := make([]byte, p.size)
	if got, err := n.Text.ReadAt(b, p.offset); got < len(b) {
		return "", err
	}
	return string(b), nil
}
