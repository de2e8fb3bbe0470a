package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"narseal/cmd/narseal/internal/terminal"
	"narseal/nar/binarycache"
	cachefolder "narseal/nar/binarycache/folder"
)

// expandCaches puts the archives of a binary cache in the place of its directory: as a directory its files would be
// searched as they lie there, compressed.
func expandCaches(ctx context.Context, inputs []string) ([]string, error) {
	var out []string
	for _, name := range inputs {
		store := cachefolder.New(name)
		is := false
		if name != "-" {
			var err error
			if is, err = isCache(ctx, store); err != nil {
				return nil, fmt.Errorf("input: %w", err)
			}
		}
		if !is {
			out = append(out, name)
			continue
		}
		for info, err := range binarycache.Infos(ctx, store) {
			if err == nil {
				_, err = store.Stat(ctx, info.URL) // no link, and no file without end
			}
			if err != nil {
				return nil, terminal.Hint(fmt.Errorf("input: %s: %w", name, err), "narseal cache verify reports what is wrong with a cache")
			}
			out = append(out, filepath.Join(name, filepath.FromSlash(info.URL)))
		}
	}
	return out, nil
}

// isCache says whether a store has a nix-cache-info. It is an error if it has one that cannot be read, such as a FIFO.
func isCache(ctx context.Context, store binarycache.Store) (bool, error) {
	_, err := store.Stat(ctx, "nix-cache-info")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil, err
}
