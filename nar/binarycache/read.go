package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/internal/stream"
	"narseal/nar/binarycache/narinfo"
)

// load reads a small object, which may be compressed in the store.
func load(ctx context.Context, s Store, name string, limit int64) ([]byte, Object, error) {
	b, o, _, err := loadText(ctx, s, name, limit)
	return b, o, err
}

// loadText is like load, but also returns how the object was compressed.
func loadText(ctx context.Context, s Store, name string, limit int64) ([]byte, Object, encoding.Encoding, error) {
	b, o, err := loadStored(ctx, s, name, limit)
	if err != nil {
		return nil, o, encoding.Plain, err
	}
	b, e, err := encoding.Decode(b, o.Attributes[encoding.Header], limit)
	if err != nil {
		return nil, o, e, fmt.Errorf("%s: %w", name, err)
	}
	return b, o, e, nil
}

// loadStored reads a small object as the store has it, which may be compressed.
func loadStored(ctx context.Context, s Store, name string, limit int64) ([]byte, Object, error) {
	f, o, err := s.Open(ctx, name)
	if err != nil {
		return nil, o, err
	}
	defer f.Close()
	b, err := encoding.ReadText(stream.WithContext(ctx, f), o.Size, limit)
	if err != nil {
		return nil, o, fmt.Errorf("%s: %w", name, err)
	}
	return b, o, nil
}

// sumOf returns the sum and the version of an object that should have size bytes. It reads at most one byte more.
func sumOf(ctx context.Context, s Store, name string, size int64) (narinfo.Sum, Version, error) {
	f, o, err := s.Open(ctx, name)
	if err != nil {
		return narinfo.Sum{}, "", err
	}
	defer f.Close()
	m := stream.NewMeter()
	_, err = io.Copy(m, io.LimitReader(stream.WithContext(ctx, f), size+1))
	return m.Sum(), o.Version, err
}

// Infos iterates over the narinfos of a cache, each at most 1 MiB. A narinfo that cannot be read yields an error and
// does not end the iteration; a store that is not a cache or cannot be listed does.
func Infos(ctx context.Context, s Store) func(yield func(*narinfo.Info, error) bool) {
	return func(yield func(*narinfo.Info, error) bool) {
		c, err := loadCacheInfo(ctx, s)
		if err != nil {
			yield(nil, err)
			return
		}
		for o, err := range s.List(ctx, "") {
			if err != nil {
				yield(nil, err)
				return
			}
			if !strings.HasSuffix(o.Name, narinfo.Suffix) {
				continue
			}
			if !narinfo.IsName(o.Name) {
				if !yield(nil, fmt.Errorf("%s: not the name of a narinfo, want HASH%s", o.Name, narinfo.Suffix)) {
					return
				}
				continue
			}
			var n *narinfo.Info
			b, _, err := load(ctx, s, o.Name, narinfo.MaxSize)
			if err == nil {
				n, err = narinfo.ParseNamed(o.Name, b, c.StoreDir)
			}
			if !yield(n, err) {
				return
			}
		}
	}
}

// Info reads the narinfo of this name from a cache of the store directory dir. It may be compressed.
func Info(ctx context.Context, s Store, name, dir string) (*narinfo.Info, error) {
	b, _, err := load(ctx, s, name, narinfo.MaxSize)
	if err != nil {
		return nil, err
	}
	return narinfo.ParseNamed(name, b, dir)
}

// References returns the base names that the narinfo of a path lists as its references. A path that the store does not
// have, or whose narinfo is damaged, has none.
func References(ctx context.Context, s Store, hash string) ([]string, error) {
	b, _, err := load(ctx, s, hash+narinfo.Suffix, narinfo.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return narinfo.ReferencesIn(b), nil
}
