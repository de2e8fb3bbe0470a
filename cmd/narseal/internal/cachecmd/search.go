package cachecmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/worklist"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/narinfo"
)

// A search reads the references of the paths of a closure. It doubts a path whose narinfo is missing, damaged, not signed by a
// trusted key, or cannot be read. Processing the path settles that; but another shard may process it, or --since, --exclude
// or a rule leave it out.
type search struct {
	store   binarycache.Store
	trusted []signature.PublicKey
	members *worklist.Members
	// compared says that the ledgers of all shards show whether the cache has told them the same. A path that it does not have
	// is then in no doubt: if another shard has found it, the closures differ.
	compared bool

	mu  sync.Mutex
	dir string // the store directory of the cache; empty until it is read
}

func (o *Options) newSearch(s binarycache.Store) *search {
	compared := o.Shard.Count > 1 && o.Ledger != "" && o.Since.IsZero()
	return &search{store: s, trusted: o.TrustedKeys, members: worklist.NewMembers(), compared: compared}
}

// references returns the references that the narinfo of a path lists.
func (s *search) references(ctx context.Context, h worklist.Hash) ([]string, error) {
	dir, err := s.storeDir(ctx)
	if err != nil {
		return nil, err
	}
	n, err := binarycache.Info(ctx, s.store, narinfo.Name(h.String()), dir)
	var store *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !s.compared {
			s.members.DoubtMissing(h)
		}
		return nil, nil
	case errors.As(err, &store) && ctx.Err() == nil: // processing the path may still succeed
		s.members.Doubt(h, err.Error())
		return nil, nil
	case errors.As(err, &store):
		return nil, err
	case err != nil: // the narinfo is damaged; the references that it lists, if it can be read, are processed
		s.members.Doubt(h, err.Error())
		names, failed := binarycache.References(ctx, s.store, h.String())
		if failed != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return names, nil
	case len(s.trusted) > 0 && !n.SignedBy(s.trusted):
		s.members.Doubt(h, binarycache.ErrUntrusted.Error())
	}
	return n.References, nil
}

// storeDir returns the store directory of the cache.
func (s *search) storeDir(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != "" {
		return s.dir, nil
	}
	var err error
	s.dir, err = binarycache.StoreDir(ctx, s.store)
	return s.dir, err
}

// maxNamedDoubts bounds the paths that an error names.
const maxNamedDoubts = 10

// checkClosure returns an error if more paths may belong to the closure of a run than were found. The report and the ledger
// get what the run knows of it.
func (r *run) checkClosure() error {
	if r.members == nil {
		return nil
	}
	list, n := r.members.Doubts()
	paths, digest := r.members.Digest()
	c := &ledger.Closure{Shard: r.rep.shard, Paths: paths, Digest: report.SRI(digest), Unknown: []string{}}
	err := r.members.Err()
	var unfound *worklist.UnfoundError
	if errors.As(err, &unfound) {
		c.Unknown = append(c.Unknown, unfound.First.String())
	}
	for _, d := range list {
		c.Unknown = append(c.Unknown, d.Hash.String())
	}
	r.rep.closure = c
	err = errors.Join(err, r.ledger.AddClosure(*c))
	if n == 0 {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "closure: the references of %s that this run does not process are not known:", report.Plural(int64(n), "path", "paths"))
	for i, d := range list[:min(len(list), maxNamedDoubts)] {
		if i > 0 {
			b.WriteString(";")
		}
		fmt.Fprintf(&b, " %v: %s", d.Hash, d.Reason)
	}
	if n > maxNamedDoubts {
		fmt.Fprintf(&b, "; and %d more", n-maxNamedDoubts)
	}
	return errors.Join(errors.New(b.String()), err)
}
