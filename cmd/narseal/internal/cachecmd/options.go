// Package cachecmd implements the commands for binary caches. It takes values, not flags.
package cachecmd

import (
	"context"
	"errors"
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

	Ledger  string        // a file, or the URL of an object
	Metrics string        // a file
	MaxAge  time.Duration // of the input; 0: any

	measuring bool // metrics are written
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
	Overlay     bool   // write to Output only what changes
	Priority    int    // of the overlay; 0: 10 below that of the cache
	State       string // the directory in which runs are remembered; empty: the user's own
	OnCMS       macho.CMSPolicy

	// Of cache rewrite:
	Rules     *rules.Set
	Encodings rules.Encodings
	Repair    filter.RepairMode
	Rename    bool // paths that a rule names on its left side: give them the name on its right side, instead of leaving them out
}

// options are those for package binarycache, for a run that was planned.
func (o *Options) options(p *plan, r *run) binarycache.Options {
	r.mu.Lock()
	r.age.listed, r.members = p.listed, p.members
	r.mu.Unlock()
	return binarycache.Options{TrustedKeys: o.TrustedKeys, Hashes: p.hashes, Select: p.selected, Since: o.Since, Jobs: o.Jobs, Done: r.done}
}

// hintPaths is what can be done about a cache that cannot be listed.
const hintPaths = "list the paths to work on in a file: --paths FILE, such as a channel's store-paths.xz"

// explain makes wrong usage of a run that ends because its cache cannot be listed.
func (o *Options) explain(cache *cachestore.Cache, err error) error {
	if len(o.Lists) == 0 && cache.Dir == "" && errors.Is(err, errors.ErrUnsupported) {
		return terminal.Usage(hintPaths, "%w", err)
	}
	return err
}

// open opens one of the caches.
func (o *Options) open(ctx context.Context, name string) (*cachestore.Cache, error) {
	return cachestore.Open(ctx, name, o.storeOptions())
}
