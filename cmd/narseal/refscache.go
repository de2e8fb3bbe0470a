package main

import (
	"context"
	"fmt"
	"path/filepath"

	"narseal/nar/binarycache"
	cachefolder "narseal/nar/binarycache/folder"
)

// expandCaches puts the archives of a binary cache in the place of its directory: as a directory its files would be
// searched as they lie there, compressed.
func expandCaches(ctx context.Context, inputs []string) ([]string, error) {
	var out []string
	for _, name := range inputs {
		store := cachefolder.New(name)
		if name == "-" || !isCache(ctx, store) {
			out = append(out, name)
			continue
		}
		for info, err := range binarycache.Infos(ctx, store) {
			if err != nil {
				return nil, &hintedError{fmt.Errorf("input: %s: %w", name, err), "narseal cache verify tells what is wrong with a cache"}
			}
			out = append(out, filepath.Join(name, filepath.FromSlash(info.URL)))
		}
	}
	return out, nil
}

func isCache(ctx context.Context, store binarycache.Store) bool {
	_, err := store.Stat(ctx, "nix-cache-info")
	return err == nil
}
