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

// Options are the options that all commands on caches share.
type Options struct {
	command.Common
	Cache string // as the user gives it, see cachestore.Open
	Netrc string // a file with credentials for HTTP caches; empty: the user's own
	Jobs  int    // the number of paths to process at the same time
	// Version is narseal's version. A run is not continued by another version.
	Version string
	Selection

	Ledger  string        // a file, or the URL of an object
	Metrics string        // a file
	MaxAge  time.Duration // the maximum age of the input; 0: any

	measuring bool // metrics are written
}

// VerifyOptions are the options of cache verify.
type VerifyOptions struct {
	Options
	List command.ListOptions
}

// ChangeOptions are the options of the commands that change a cache or write another one.
type ChangeOptions struct {
	Options
	Output      string // a cache; empty: in place
	SecretKeys  []signature.SecretKey
	Compression string // a name from package compression, or command.SameCompression
	Level       int
	Prune       bool
	DryRun      bool
	Overlay     bool   // write only changed paths to Output
	Priority    int    // of the overlay; 0: 10 less than that of the cache
	State       string // the directory for the state of runs; empty: the user's own
	OnCMS       macho.CMSPolicy

	// For cache rewrite:
	Rules     *rules.Set
	Encodings rules.Encodings
	Repair    filter.RepairMode
	Rename    bool // give paths that a rule names on its left side the name on its right side, instead of leaving them out
}

// options returns the options for package binarycache for a planned run.
func (o *Options) options(p *plan, r *run) binarycache.Options {
	r.mu.Lock()
	r.age.listed, r.members, r.access = p.listed, p.members, p.access
	r.mu.Unlock()
	return binarycache.Options{TrustedKeys: o.TrustedKeys, Hashes: p.hashes, Select: p.selected, Since: o.Since, Jobs: o.Jobs, Done: r.done}
}

// hintPaths is the hint for a cache that cannot be listed.
const hintPaths = "list the paths to work on in a file: --paths FILE, such as a channel's store-paths.xz"

// explain turns the error of a cache that cannot be listed into a usage error.
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
