package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/input"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/nar/binarycache"
)

// A refsInput is one input of refs: a file, a directory or stdin, or an archive in a binary cache.
type refsInput struct {
	name  string            // for display
	cache binarycache.Store // nil: not in a cache
	nar   string            // the name of the archive's object
	size  int64             // of the archive
}

// openCaches opens the inputs that may be caches: directories and URLs.
func (o *RefsOptions) openCaches(ctx context.Context) (map[string]*cachestore.Cache, error) {
	caches := map[string]*cachestore.Cache{}
	for _, name := range o.Inputs {
		if name == Stream || caches[name] != nil {
			continue
		}
		c, err := cachestore.Open(ctx, name, cachestore.Options{Netrc: o.Netrc, Version: o.Version})
		if err != nil {
			return nil, err
		}
		caches[name] = c
	}
	return caches, nil
}

// expandCaches replaces binary caches with their archives. Searching a cache as a directory would search the compressed
// files.
func expandCaches(ctx context.Context, inputs []string, caches map[string]*cachestore.Cache) ([]refsInput, error) {
	var out []refsInput
	for _, name := range inputs {
		cache := caches[name]
		is := cache != nil && cache.Dir == ""
		if cache != nil && cache.Dir != "" {
			var err error
			if is, err = isCache(ctx, cache.Store); err != nil {
				return nil, fmt.Errorf("input: %w", err)
			}
		}
		if !is {
			if cache != nil {
				name = cache.Dir
			}
			out = append(out, refsInput{name: name})
			continue
		}
		for info, err := range binarycache.Infos(ctx, cache.Store) {
			if err == nil && cache.Dir != "" {
				_, err = cache.Store.Stat(ctx, info.URL) // report every problem before searching anything
			}
			if errors.Is(err, errors.ErrUnsupported) {
				return nil, terminal.Usage("narseal cache verify --paths takes a list of paths", "input: %w", err)
			}
			if err != nil {
				return nil, terminal.Hint(fmt.Errorf("input: %s: %w", cache.Name, err), "narseal cache verify shows what is wrong with a cache")
			}
			shown := cache.Name + "/" + info.URL
			if cache.Dir != "" {
				shown = filepath.Join(cache.Dir, filepath.FromSlash(info.URL))
			}
			out = append(out, refsInput{shown, cache.Store, info.URL, info.NarSize})
		}
	}
	return out, nil
}

// isCache reports whether a store has a nix-cache-info. It returns an error if the object exists but cannot be read,
// such as a FIFO.
func isCache(ctx context.Context, store binarycache.Store) (bool, error) {
	_, err := store.Stat(ctx, "nix-cache-info")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil, err
}

// archive opens an archive of a cache. It reads only through the store, which checks the object, and never opens the
// file by its name.
func (r *refsRun) archive(ctx context.Context, in refsInput) (*input.Input, io.Closer, error) {
	body, o, err := in.cache.Open(ctx, in.nar)
	if err != nil {
		return nil, nil, fmt.Errorf("input: %w", err)
	}
	wrapped := input.Wrap(in.name, body, o.Size, r.Terminal.Progress())
	wrapped.MaxContents = in.size
	return wrapped, body, nil
}
