// Package cachecmd is what the commands on binary caches do, from values.
package cachecmd

import (
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

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
	Cache string // as the user gives it, see Dir
	Jobs  int    // paths to work on at a time
	Selection
}

// Selection says which paths are worked on.
type Selection struct {
	Hashes      iter.Seq2[string, error] // hash parts; nil: all
	Exclude     map[string]bool          // hash parts of paths that are left out
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
	Version     string // of narseal: another version does not continue a run

	// Of cache rewrite:
	Rules     *rules.Set
	Encodings rules.Encodings
	Repair    filter.RepairMode
	Rename    bool // paths that a rule names on its left side: give them the name on its right side, instead of leaving them out
}

// options are those for package binarycache.
func (o *Options) options(done func(binarycache.Result)) binarycache.Options {
	return binarycache.Options{TrustedKeys: o.TrustedKeys, Hashes: o.Hashes, Since: o.Since, Jobs: o.Jobs, Done: done}
}

// Dir is the directory that a path, or a file:// URL, names.
func Dir(s string) (string, error) {
	if !strings.Contains(s, "://") {
		return s, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", terminal.Usage("", "cache %q: %w", s, err)
	}
	if u.Scheme != "file" || u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return "", terminal.Usage("copy it to a directory first: nix copy --to file:///DIR …", "cache %q: want a directory or file:///DIR", s)
	}
	return filepath.FromSlash(u.Path), nil // what follows ? is for Nix
}

// sameDir reports whether two names are of one directory, which may not exist yet.
func sameDir(a, b string) bool {
	if ia, err := os.Stat(a); err == nil {
		if ib, err := os.Stat(b); err == nil {
			return os.SameFile(ia, ib)
		}
	}
	return filepath.Clean(a) == filepath.Clean(b)
}
