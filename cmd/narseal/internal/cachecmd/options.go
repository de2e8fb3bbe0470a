// Package cachecmd is what the commands on binary caches do, from values.
package cachecmd

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
	"narseal/nar/binarycache"
)

// Options are those of all commands on caches.
type Options struct {
	command.Common
	Cache string // as the user gives it, see cachestore.Open
	Netrc string // a file with credentials for caches behind HTTP; empty: the user's own
	Jobs  int    // paths to work on at a time
	// Version is that of narseal. Another version does not continue a run.
	Version string
	Selection
}

// Selection says which paths are worked on.
type Selection struct {
	Hashes      iter.Seq2[string, error] // hash parts; nil: all
	Since       time.Time
	TrustedKeys []signature.PublicKey
}

// VerifyOptions are those of cache verify.
type VerifyOptions struct {
	Options
	List command.ListOptions
}

// ChangeOptions are those of the commands that change a cache, or write another one.
type ChangeOptions struct {
	Options
	Output      string // a cache; empty: in place
	SecretKeys  []signature.SecretKey
	Compression string // that of package compression, or command.SameCompression
	Level       int
	Prune       bool
	DryRun      bool
	State       string // the directory in which runs are remembered; empty: the user's own
	OnCMS       macho.CMSPolicy

	// Of cache rewrite:
	Rules     *rules.Set
	Encodings rules.Encodings
	Repair    filter.RepairMode
}

// options are those for package binarycache.
func (o *Options) options(done func(binarycache.Result)) binarycache.Options {
	return binarycache.Options{TrustedKeys: o.TrustedKeys, Hashes: o.Hashes, Since: o.Since, Jobs: o.Jobs, Done: done}
}

// hintPaths is what can be done about a cache that cannot be listed.
const hintPaths = "name the paths to work on: --path HASH for one, --path - <LIST for many"

// explain makes wrong usage of a run that ends because its cache cannot be listed.
func (o *Options) explain(cache *cachestore.Cache, err error) error {
	if o.Hashes == nil && cache.Dir == "" && errors.Is(err, errors.ErrUnsupported) {
		return terminal.Usage(hintPaths, "%w", err)
	}
	return err
}

// open opens one of the caches.
func (o *Options) open(ctx context.Context, name string) (*cachestore.Cache, error) {
	return cachestore.Open(ctx, name, cachestore.Options{Netrc: o.Netrc, Version: o.Version})
}
