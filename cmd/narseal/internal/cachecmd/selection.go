package cachecmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/cmd/narseal/internal/worklist"
	"narseal/nar/binarycache/narinfo"
)

// Selection says which paths are worked on.
type Selection struct {
	Lists       []string // files and URLs that list paths, command.Stream for stdin; none: all paths of the cache
	Closure     bool     // and what those refer to
	Shard       worklist.Shard
	Exclude     map[string]bool // hash parts of paths that are left out
	Since       time.Time
	TrustedKeys []signature.PublicKey
}

// whole reports whether all paths of a cache are worked on.
func (s *Selection) whole() bool {
	return len(s.Lists) == 0 && s.Shard.Count <= 1 && len(s.Exclude) == 0 && s.Since.IsZero()
}

// plan is what a Selection comes to.
type plan struct {
	hashes   iter.Seq2[string, error] // nil: the cache is listed
	selected func(hash string) bool   // of a cache that is listed
	listed   time.Time                // when the oldest list was changed; zero if not known
	members  *worklist.Members        // of the closure; nil: there is none
}

// plan reads the lists, before any path is worked on.
func (o *Options) plan(ctx context.Context, e *command.Env, cache *cachestore.Cache) (*plan, error) {
	p := &plan{}
	if len(o.Lists) == 0 {
		if o.Closure {
			return nil, terminal.Usage("without --paths, all paths of the cache are worked on", "--closure: of which paths? Name them by --paths")
		}
		if o.Shard.Count > 1 {
			p.selected = func(hash string) bool {
				h, err := worklist.ParseHash(hash)
				return err == nil && o.Shard.Has(h)
			}
		}
		return p, nil
	}
	list := &worklist.List{}
	if !o.Closure {
		list.Shard = o.Shard
	}
	for _, name := range o.Lists {
		at, err := o.readList(ctx, e, list, name)
		if err != nil {
			return nil, err
		}
		if !at.IsZero() && (p.listed.IsZero() || at.Before(p.listed)) {
			p.listed = at
		}
	}
	if list.Found == 0 {
		e.Terminal.Warnf("--paths: no path in %s", report.Plural(int64(len(o.Lists)), "list", "lists"))
	}
	if o.Closure {
		search := o.newSearch(cache.Store)
		p.members = search.members
		p.hashes = worklist.Closure(ctx, list, o.Shard, 2*o.Jobs, search.references, p.members)
		return p, nil
	}
	p.hashes = func(yield func(string, error) bool) {
		for h := range list.All() {
			if !yield(h.String(), nil) {
				return
			}
		}
	}
	return p, nil
}

// readList reads one list, and returns when it was changed.
func (o *Options) readList(ctx context.Context, e *command.Env, list *worklist.List, name string) (time.Time, error) {
	r, at, err := o.openList(ctx, e, name)
	if err == nil {
		err = list.Read(r, cachestore.Redact(name))
		r.Close()
	}
	var line *worklist.LineError
	var usage *terminal.UsageError
	switch {
	case err == nil:
		return at, nil
	case errors.As(err, &line):
		return at, terminal.Usage("one path per line: a store path, or its hash part", "--paths: %w", err)
	case errors.Is(err, fs.ErrNotExist) && !cachestore.IsURL(name) && worklist.IsPath(name):
		return at, terminal.Usage("to name one path: echo "+name+" | narseal … --paths -", "--paths takes a file: %w", err)
	case errors.As(err, &usage):
		return at, err
	}
	return at, fmt.Errorf("--paths: %w", err)
}

func (o *Options) openList(ctx context.Context, e *command.Env, name string) (io.ReadCloser, time.Time, error) {
	if name == command.Stream {
		return io.NopCloser(e.Stdin), time.Time{}, nil
	}
	if cachestore.IsURL(name) {
		cache, object, err := cachestore.OpenObject(ctx, name, o.storeOptions())
		if err != nil {
			return nil, time.Time{}, err
		}
		r, description, err := cache.Store.Open(ctx, object)
		return r, description.ModTime, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, errors.Join(err, f.Close())
	}
	if !info.Mode().IsRegular() {
		return f, time.Time{}, nil
	}
	return f, info.ModTime(), nil
}

// skip is skip, which may be nil, for binarycache's Skip. Of a path that is worked on, it requires the references to be in
// the closure.
func (p *plan) skip(skip func(context.Context, *narinfo.Info) (bool, error)) func(context.Context, *narinfo.Info) (bool, error) {
	if p.members == nil {
		return skip
	}
	return func(ctx context.Context, n *narinfo.Info) (bool, error) {
		if err := p.members.Require(n.References); err != nil || skip == nil {
			return false, err
		}
		return skip(ctx, n)
	}
}

// shardName is I/N, or empty for the whole.
func (o *Options) shardName() string {
	if o.Shard.Count <= 1 {
		return ""
	}
	return fmt.Sprintf("%d/%d", o.Shard.Index, o.Shard.Count)
}

func (o *Options) storeOptions() cachestore.Options {
	return cachestore.Options{Netrc: o.Netrc, Version: o.Version}
}

// age notes how old the input is.
type age struct {
	newest time.Time // narinfo
	listed time.Time // see plan
}

func (a *age) see(modified time.Time) {
	if modified.After(a.newest) {
		a.newest = modified
	}
}

// of returns the time of the input: that of its newest narinfo, or of the list if that is older.
func (a *age) of() time.Time {
	if a.newest.IsZero() || !a.listed.IsZero() && a.listed.Before(a.newest) {
		return cmp.Or(a.listed, a.newest)
	}
	return a.newest
}

// check returns an error if the input is older than it may be, or nobody knows how old it is.
func (a *age) check(most time.Duration, now time.Time) error {
	if most == 0 {
		return nil
	}
	at := a.of()
	if at.IsZero() {
		return terminal.Hint(errors.New("--max-age: neither the narinfos nor the list say when they were changed"), "--paths FILE has the time of the file")
	}
	if old := now.Sub(at); old > most {
		what := "the newest narinfo is"
		if at.Equal(a.listed) {
			what = "the list of paths is"
		}
		return fmt.Errorf("the input is too old: %s of %s, %s ago, and --max-age is %s", what, at.UTC().Format(time.RFC3339), old.Round(time.Second), most)
	}
	return nil
}
