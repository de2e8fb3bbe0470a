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

// An entry is the last line of a path. It takes 33 bytes, and its path up to 35 in a Set.
type entry struct {
	old, new digest // new is zero if the path was not changed
	finished bool
}

// A table holds the last line of each path.
type table struct {
	paths  *worklist.Set // nil if there are none
	chunks [][]entry     // by the number of the path; all are full, so that none is copied when there are more
}

const chunkSize = 1 << 12

// add adds a line of a path, which replaces earlier ones.
func (t *table) add(h worklist.Hash, e entry) error {
	if t.paths == nil {
		t.paths = worklist.NewSet()
	}
	i, added := t.paths.Add(h)
	if added && i >= maxPaths {
		return fmt.Errorf("more than %d paths: take them in shards", maxPaths)
	}
	if i/chunkSize == len(t.chunks) {
		t.chunks = append(t.chunks, make([]entry, chunkSize))
	}
	t.chunks[i/chunkSize][i%chunkSize] = e
	return nil
}

// find returns the entry of a path, or nil.
func (t *table) find(h worklist.Hash) *entry {
	if t.paths == nil {
		return nil
	}
	i, ok := t.paths.Index(h)
	if !ok {
		return nil
	}
	return &t.chunks[i/chunkSize][i%chunkSize]
}

// newEntry returns the path and the entry of a line.
func newEntry(l *Line) (h worklist.Hash, e entry, err error) {
	if h, err = l.Hash(); err != nil {
		return h, e, fmt.Errorf("storePath %q: %w", cut(l.StorePath, 300), err)
	}
	if e.finished = l.Finished(); !e.finished {
		return h, e, nil
	}
	if e.old, err = parseDigest(l.NarHash); err != nil {
		return h, e, fmt.Errorf("narHash %q: %w", cut(l.NarHash, 100), err)
	}
	if l.NewNarHash == "" {
		return h, e, nil
	}
	if e.new, err = parseDigest(l.NewNarHash); err != nil {
		return h, e, fmt.Errorf("newNarHash %q: %w", cut(l.NewNarHash, 100), err)
	}
	return h, e, nil
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
