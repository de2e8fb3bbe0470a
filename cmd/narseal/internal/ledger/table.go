package ledger

import (
	"fmt"

	"github.com/nix-community/go-nix/pkg/nixhash"

	"narseal/cmd/narseal/internal/worklist"
)

// maxPaths is the maximum number of paths that a run remembers of a ledger. A shard counts only its own paths. Tests
// lower it.
var maxPaths = 1 << 24

// digestSize is the number of bytes of a SHA-256 that are remembered. Finding another NAR with the same 128 bits is
// infeasible.
const digestSize = 16

type digest [digestSize]byte

// An entry is the last line of a path.
type entry struct {
	hash     worklist.Hash
	old, new digest // new is zero if the path was not changed
	finished bool
}

// A table holds the last line of each path, in 45 to 50 bytes, and 16 more if the path was changed.
type table struct {
	hashes *worklist.Set // nil: it is empty
	stored worklist.Chunks[stored]
	new    worklist.Chunks[digest]
}

// stored is an entry without its hash.
type stored struct {
	old digest
	new uint32 // the number of the new digest, from 1, or 0 if the path never had one; and flags
}

// Flags of stored.
const (
	finished = 1 << 31
	changed  = 1 << 30
	number   = changed - 1
)

// add adds a line, which replaces earlier lines of the same path.
func (t *table) add(e *entry) error {
	if t.hashes == nil {
		t.hashes = worklist.NewSet()
	}
	i, isNew := t.hashes.Number(e.hash)
	if isNew = !isNew; isNew {
		if t.hashes.Len() >= maxPaths {
			return fmt.Errorf("more than %d paths: take them in shards", maxPaths)
		}
		i, _ = t.hashes.Add(e.hash)
		t.stored.Append(stored{})
	}
	s := t.stored.At(i)
	s.old = e.old
	s.new &= number // an earlier line of the path may have a place for a new digest
	if e.finished {
		s.new |= finished
	}
	if e.new == (digest{}) {
		return nil
	}
	if s.new&number == 0 {
		t.new.Append(digest{})
		s.new |= uint32(t.new.Len())
	}
	s.new |= changed
	*t.new.At(int(s.new&number) - 1) = e.new
	return nil
}

// find returns the entry of a path, or nil. Many goroutines may call it at once.
func (t *table) find(h worklist.Hash) *entry {
	if t.hashes == nil {
		return nil
	}
	i, ok := t.hashes.Number(h)
	if !ok {
		return nil
	}
	s := t.stored.At(i)
	e := &entry{hash: h, old: s.old, finished: s.new&finished != 0}
	if s.new&changed != 0 {
		e.new = *t.new.At(int(s.new&number) - 1)
	}
	return e
}

// newEntry returns the entry of a line.
func newEntry(l *Line) (*entry, error) {
	h, err := l.Hash()
	if err != nil {
		return nil, fmt.Errorf("storePath %q: %w", cut(l.StorePath, 300), err)
	}
	e := &entry{hash: h, finished: l.Finished()}
	if !e.finished {
		return e, nil
	}
	if e.old, err = parseDigest(l.NarHash); err != nil {
		return nil, fmt.Errorf("narHash %q: %w", cut(l.NarHash, 100), err)
	}
	if l.NewNarHash == "" {
		return e, nil
	}
	if e.new, err = parseDigest(l.NewNarHash); err != nil {
		return nil, fmt.Errorf("newNarHash %q: %w", cut(l.NewNarHash, 100), err)
	}
	return e, nil
}

// parseDigest parses a SHA-256 in the form of a ledger or a narinfo.
func parseDigest(s string) (d digest, err error) {
	h, err := nixhash.ParseAny(s, nil)
	if err != nil {
		return d, err
	}
	if h.Algo() != nixhash.SHA256 {
		return d, fmt.Errorf("%s is not supported, want sha256", h.Algo())
	}
	return digest(h.Digest()[:digestSize]), nil
}
