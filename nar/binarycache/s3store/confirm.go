package s3store

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/internal/remote"
	"narseal/nar/binarycache/narinfo"
)

// confirm returns the version of an object that was put, or an error if the server does not have it. It asks the server
// for the size of a NAR, before a narinfo refers to it, and for that of a narinfo or nix-cache-info, without which the
// cache looks complete to nobody but the run. For any other object, an ETag that is the MD5 of the contents is
// sufficient. If it is not, as with encryption and uploads in parts, confirm asks as well.
func (b *bucket) confirm(ctx context.Context, name string, c *remote.Content, tag string) (binarycache.Version, error) {
	if tag == "" {
		return "", b.explain(&pageError{"an answer to PUT without an ETag"})
	}
	if c.Size <= narinfo.MaxSize && !narinfo.IsNAR(name) && !narinfo.IsName(name) && name != narinfo.CacheInfoName {
		if same, err := isMD5(c, tag); err != nil || same {
			return binarycache.Version(tag), err
		}
	}
	now, err := b.Head(ctx, name)
	var e *remote.Error
	switch {
	case errors.As(err, &e) && e.Absent && !e.Denied:
		return "", &remote.Error{Err: errors.New("the server accepted the object but does not have it")}
	case errors.As(err, &e) && e.Denied: // a user with the right to write may lack the right to read
		return binarycache.Version(tag), nil
	case err != nil:
		return "", err
	case now.Size < 0, now.Size == c.Size:
		return binarycache.Version(tag), nil
	case !narinfo.IsNAR(name) && now.Version != binarycache.Version(tag): // it may be another writer's object
		a, err := b.Get(ctx, name, 0, nil)
		if err != nil {
			return "", err
		}
		if part, err := c.HasPart(a); err != nil || !part {
			return binarycache.Version(tag), err
		}
	}
	return "", &remote.Error{Err: fmt.Errorf("the server accepted %d bytes but has %d", c.Size, now.Size),
		Advice: "the server's disk may be full, or a proxy may truncate uploads; delete the object before the next run"}
}

// isMD5 reports whether an ETag is the MD5 of small contents.
func isMD5(c *remote.Content, tag string) (bool, error) {
	r, err := c.Reader()
	if err != nil {
		return false, err
	}
	h := md5.New()
	if _, err := io.Copy(h, r); err != nil {
		return false, err
	}
	return hex.EncodeToString(h.Sum(nil)) == tag, nil
}
