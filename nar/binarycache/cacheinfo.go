package binarycache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/narinfo"
)

// readCacheInfo reads nix-cache-info. If the Output is another cache, it writes it there.
func (r *run) readCacheInfo(ctx context.Context) error {
	var err error
	if r.cache, err = loadCacheInfo(ctx, r.in); err != nil {
		return err
	}
	if r.out == nil || r.inPlace {
		return nil
	}
	text := r.cache.Text
	if r.Overlay {
		text = r.cache.Overlay(r.Priority)
	}
	cond := Condition{New: true}
	there, err := loadCacheInfo(ctx, r.out)
	switch {
	case there != nil && bytes.HasPrefix(text, there.Text) && !bytes.HasSuffix(there.Text, []byte("\n")): // it was cut off
		cond = Condition{Version: there.object.Version}
	case err == nil && there.StoreDir != r.cache.StoreDir:
		return fmt.Errorf("%s: the output is a cache of %s, the input of %s", narinfo.CacheInfoName, there.StoreDir, r.cache.StoreDir)
	case err == nil, errors.Is(err, fs.ErrNotExist) && r.DryRun:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	o := r.cache.object
	o.Name, o.Size = narinfo.CacheInfoName, int64(len(text))
	if _, err = r.out.Put(ctx, typed(o), bytes.NewReader(text), cond); errors.Is(err, fs.ErrExist) || errors.Is(err, ErrChanged) {
		_, err = loadCacheInfo(ctx, r.out) // another run was faster
	}
	return asOutput(err)
}

// cacheInfo is nix-cache-info and its object.
type cacheInfo struct {
	*narinfo.CacheInfo
	object Object
}

// loadCacheInfo reads the nix-cache-info of a store. With an error about its text, it returns the text.
func loadCacheInfo(ctx context.Context, s Store) (*cacheInfo, error) {
	b, o, err := load(ctx, s, narinfo.CacheInfoName, narinfo.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("not a binary cache: %w", err)
	}
	c, err := narinfo.ParseCacheInfo(b)
	if err != nil {
		return &cacheInfo{&narinfo.CacheInfo{Text: b}, o}, fmt.Errorf("%s: %w", narinfo.CacheInfoName, err)
	}
	o.Attributes = without(o.Attributes, encoding.Header) // it is written without compression
	return &cacheInfo{c, o}, nil
}

// StoreDir reads the store directory of a cache.
func StoreDir(ctx context.Context, s Store) (string, error) {
	c, err := loadCacheInfo(ctx, s)
	if err != nil {
		return "", err
	}
	return c.StoreDir, nil
}
