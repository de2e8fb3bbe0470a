package binarycache

import (
	"context"
	"errors"
	"io/fs"

	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/narinfo"
)

// errMissing is returned for a path of Hashes that is not in the cache.
var errMissing = errors.New("not in the cache")

// load reads a task's narinfo.
func (r *run) load(ctx context.Context, name string, res *Result) ([]byte, Object, encoding.Encoding, error) {
	b, o, e, err := loadText(ctx, r.in, name, narinfo.MaxSize)
	if r.Hashes != nil && errors.Is(err, fs.ErrNotExist) {
		return nil, o, e, errMissing
	}
	res.Modified = o.ModTime
	return b, o, e, err
}

// selected reports whether to work on a listed narinfo.
func (r *run) selected(name string) bool {
	return narinfo.IsName(name) && (r.Select == nil || r.Select(name[:len(name)-len(narinfo.Suffix)]))
}

// skip reports whether the caller knows that a path is finished. A path that no trusted key has signed never is.
func (r *run) skip(ctx context.Context, n *narinfo.Info, res *Result) (bool, error) {
	if r.Skip == nil {
		return false, nil
	}
	if err := r.checkTrust(n); err != nil {
		return false, err
	}
	skip, err := r.Skip(ctx, n)
	if err != nil || !skip {
		return false, err
	}
	res.Status, res.NarHash = Skipped, narinfo.HashText(n.NarHash)
	return true, nil
}
