package ledger

import (
	"bytes"
	"fmt"
	"slices"
	"sort"

	"github.com/nix-community/go-nix/pkg/nixhash"

	"narseal/cmd/narseal/internal/worklist"
)

// maxPaths is the maximum number of paths that a run remembers of a ledger. A shard counts only its own paths.
const maxPaths = 1 << 24

// digestSize is the number of bytes of a SHA-256 that are remembered. Finding another NAR with the same 128 bits is
// infeasible.
const digestSize = 16

type digest [digestSize]byte

// An entry is the last line of a path. It takes 53 bytes.
type entry struct {
	hash     worklist.Hash
	old, new digest // new is zero if the path was not changed
	finished bool
}

// A table holds the last line of each path.
type table struct {
	entries []entry
	sorted  int // the first sorted entries are in order and have no duplicates
}

// add adds a line, which replaces earlier lines of the same path.
func (t *table) add(e *entry) error {
	if n := len(t.entries); n == cap(t.entries) && n > 2*t.sorted {
		t.compact()
	}
	if len(t.entries) >= maxPaths {
		if t.compact(); len(t.entries) >= maxPaths {
			return fmt.Errorf("more than %d paths: take them in shards", maxPaths)
		}
	}
	t.entries = append(t.entries, *e)
	return nil
}

func (t *table) compact() {
	if t.sorted == len(t.entries) {
		return
	}
	slices.SortStableFunc(t.entries, func(a, b entry) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	kept := t.entries[:0]
	for i := range t.entries {
		if i+1 < len(t.entries) && t.entries[i+1].hash == t.entries[i].hash {
			continue // a later line replaces it
		}
		kept = append(kept, t.entries[i])
	}
	t.entries, t.sorted = kept, len(kept)
}

// find returns the entry of a path, or nil. compact must be called before.
func (t *table) find(h worklist.Hash) *entry {
	i := sort.Search(len(t.entries), func(i int) bool { return bytes.Compare(t.entries[i].hash[:], h[:]) >= 0 })
	if i == len(t.entries) || t.entries[i].hash != h {
		return nil
	}
	return &t.entries[i]
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
