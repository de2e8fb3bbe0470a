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
	"slices"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/cmd/narseal/internal/worklist"
	"narseal/nar/binarycache/narinfo"
)

// Selection selects the paths to process.
type Selection struct {
	Lists       []string // files and URLs that list paths, command.Stream for stdin; none: all paths of the cache
	Closure     bool     // also select everything that the listed paths refer to
	Shard       worklist.Shard
	Exclude     map[string]bool // hash parts of paths to leave out
	Since       time.Time
	TrustedKeys []signature.PublicKey
}

// whole reports whether all paths of the cache are selected.
func (s *Selection) whole() bool {
	return len(s.Lists) == 0 && s.Shard.Count <= 1 && len(s.Exclude) == 0 && s.Since.IsZero()
}

// plan is a Selection whose lists were read.
type plan struct {
	hashes   iter.Seq2[string, error] // nil: the cache is listed
	selected func(hash string) bool   // selects from a listed cache; nil: all
	listed   time.Time                // when the oldest list was last changed; zero if unknown
	members  *worklist.Members        // of the closure; nil without one
	access   *access                  // to the cache; nil if it is listed
}

// plan reads the lists, before any path is processed.
func (o *Options) plan(ctx context.Context, e *command.Env, cache *cachestore.Cache) (*plan, error) {
	p := &plan{}
	if len(o.Lists) == 0 {
		if o.Closure {
			return nil, terminal.Usage("without --paths, all paths of the cache are processed", "--closure needs --paths")
		}
		if o.Shard.Count > 1 {
			p.selected = func(hash string) bool {
				h, err := worklist.ParseHash(hash)
				return err == nil && o.Shard.Has(h)
			}
		}
		return p, nil
	}
	p.access = &access{}
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
	if err := o.checkFound(e, list); err != nil {
		return nil, err
	}
	if o.Closure {
		search := o.newSearch(&store{Store: cache.Store, access: p.access})
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

// checkFound returns an error if there is no path in the lists: a program that has failed leaves an empty file, compressed
// or not. A pipe may be empty.
func (o *Options) checkFound(e *command.Env, list *worklist.List) error {
	if list.Found > 0 {
		return nil
	}
	text := "--paths: no path in " + report.Plural(int64(len(o.Lists)), "list", "lists")
	if slices.Contains(o.Lists, command.Stream) {
		e.Terminal.Warnf("%s", text)
		return nil
	}
	return terminal.Hint(errors.New(text), "was the list written completely? --paths - reads a list that may be empty")
}

// readList reads one list into list, and returns when the named file or object was last changed.
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

// skip wraps skip, which may be nil. If there is a closure, the wrapped function also requires that the references of
// each path are in it.
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

func (o *Options) storeOptions() cachestore.Options {
	return cachestore.Options{Netrc: o.Netrc, Version: o.Version}
}

// age records how old the input is.
type age struct {
	newest time.Time // of the newest narinfo
	listed time.Time // see plan
}

func (a *age) see(modified time.Time) {
	if modified.After(a.newest) {
		a.newest = modified
	}
}

// of returns the time of the input: the time of its newest narinfo or of the list, whichever is older.
func (a *age) of() time.Time {
	if a.newest.IsZero() || !a.listed.IsZero() && a.listed.Before(a.newest) {
		return cmp.Or(a.listed, a.newest)
	}
	return a.newest
}

// check returns an error if the input is older than most, or if its age is unknown.
func (a *age) check(most time.Duration, now time.Time) error {
	if most == 0 {
		return nil
	}
	at := a.of()
	if at.IsZero() {
		return terminal.Hint(errors.New("--max-age: neither the narinfos nor the list have a time of their last change"), "--paths FILE has the time of the file")
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
