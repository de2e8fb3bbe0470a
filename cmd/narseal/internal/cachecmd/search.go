package cachecmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/worklist"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/narinfo"
)

// A search is the search for the paths of a closure. Members checks what it believes of a path that this run works on. A path
// on which another shard works, or which --since leaves out, is not checked by this run: its narinfo must be signed by a
// trusted key, if there are any, and one that is missing is counted.
type search struct {
	env      *command.Env
	store    binarycache.Store
	trusted  []signature.PublicKey
	isWorked func(worklist.Hash) bool // whether this run works on a path, or the user leaves it out
	storeDir func() (string, error)   // of the cache

	mu      sync.Mutex
	missing int
	again   []worklist.Hash // some of them, which are asked for again at the end
}

// maxAgain is how many missing paths are asked for again. Each takes 20 bytes.
const maxAgain = 1 << 16

func (o *Options) newSearch(e *command.Env, s binarycache.Store) *search {
	return &search{env: e, store: s, trusted: o.TrustedKeys,
		isWorked: func(h worklist.Hash) bool { return o.Since.IsZero() && o.Shard.Has(h) || o.Exclude[h.String()] },
		storeDir: sync.OnceValues(func() (string, error) { return binarycache.StoreDir(context.Background(), s) }),
	}
}

// references returns what a path refers to, by its narinfo.
func (s *search) references(ctx context.Context, h worklist.Hash) ([]string, error) {
	if s.isWorked(h) { // it fails, or is missing, when it is worked on
		return binarycache.References(ctx, s.store, h.String())
	}
	dir, err := s.storeDir()
	if err != nil {
		return nil, err
	}
	n, err := binarycache.Info(ctx, s.store, h.String()+narinfo.Suffix, dir)
	if errors.Is(err, fs.ErrNotExist) {
		s.env.Terminal.Infof("%v: the cache does not have it", h)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.missing++; len(s.again) < maxAgain {
			s.again = append(s.again, h)
		}
		return nil, nil
	}
	if err == nil && len(s.trusted) > 0 && !n.SignedBy(s.trusted) {
		err = fmt.Errorf("%s: %w", n.StorePath, binarycache.ErrUntrusted)
	}
	if err != nil {
		return nil, err
	}
	return n.References, nil
}

// check goes through the paths of a closure. At the end, a path that was missing must still be.
func (s *search) check(ctx context.Context, paths iter.Seq2[string, error]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for h, err := range paths {
			if !yield(h, err) {
				return
			}
		}
		for _, h := range s.again {
			if _, err := s.store.Stat(ctx, h.String()+narinfo.Suffix); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				yield("", fmt.Errorf("closure: %w", err))
			} else {
				yield("", fmt.Errorf("closure: the cache did not have %v when it was asked first, and has it now: what that refers to was not found", h))
			}
			return
		}
	}
}

// warn says how many paths are missing.
func (s *search) warn() {
	if s == nil || s.missing == 0 {
		return
	}
	s.env.Terminal.Warnf("the cache does not have %s of the closure on which this run does not work: what they refer to is not known; --verbose lists them",
		report.Plural(int64(s.missing), "path", "paths"))
}
