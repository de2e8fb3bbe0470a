package cachecmd

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"

	"narseal/cmd/narseal/internal/worklist"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/narinfo"
)

// A closureCheck compares the references by which a closure was found with those of the narinfos that are worked on. Each
// narinfo is read twice, and a server that leaves out references the first time would keep paths out of the run.
type closureCheck struct {
	store   binarycache.Store
	shard   worklist.Shard
	renames bool // the run gives references other names, so that what is read last may have them

	seed maphash.Seed
	mu   sync.Mutex
	sums map[worklist.Hash]uint64 // of the paths that were read once
}

func newClosureCheck(s binarycache.Store, shard worklist.Shard) *closureCheck {
	return &closureCheck{store: s, shard: shard, seed: maphash.MakeSeed(), sums: map[worklist.Hash]uint64{}}
}

// references returns what a path refers to, by its narinfo. The path itself fails, or is missing, when it is worked on.
func (c *closureCheck) references(ctx context.Context, h worklist.Hash) ([]string, error) {
	refs, err := binarycache.References(ctx, c.store, h.String())
	if err == nil && c.shard.Has(h) && !c.meet(h, refs) && !c.renames {
		err = fmt.Errorf("%s: %w", h.String()+narinfo.Suffix, errReferences)
	}
	return refs, err
}

// errReferences is worth another run.
var errReferences = fmt.Errorf("it lists other references than when it was read before: %w", binarycache.ErrChanged)

// check compares the references of a path that is worked on.
func (c *closureCheck) check(n *narinfo.Info) error {
	h, err := worklist.ParseHash(hashPart(n))
	if err == nil && !c.meet(h, n.References) {
		err = fmt.Errorf("%s: %w", n.StorePath, errReferences)
	}
	return err
}

// meet reports whether the references are those of the other time. Only the first time, it keeps them.
func (c *closureCheck) meet(h worklist.Hash, refs []string) bool {
	sum := c.sum(refs)
	c.mu.Lock()
	defer c.mu.Unlock()
	other, ok := c.sums[h]
	if !ok {
		c.sums[h] = sum
		return true
	}
	delete(c.sums, h)
	return other == sum
}

// sum does not depend on the order of references.
func (c *closureCheck) sum(refs []string) uint64 {
	sum := uint64(len(refs))
	for _, r := range refs {
		sum += maphash.String(c.seed, r)
	}
	return sum
}

// checked adds the check to what a run does before a path.
func (p *plan) checked(bo *binarycache.Options, renames bool) {
	if p.closure == nil {
		return
	}
	p.closure.renames = renames
	skip := bo.Skip
	bo.Skip = func(ctx context.Context, n *narinfo.Info) (bool, error) {
		if err := p.closure.check(n); err != nil || skip == nil {
			return false, err
		}
		return skip(ctx, n)
	}
}
