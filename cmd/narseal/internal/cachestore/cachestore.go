// Package cachestore opens a binary cache by its directory or its file://, http://, https:// or s3:// URL.
package cachestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/folder"
	"narseal/nar/binarycache/httpstore"
	"narseal/nar/binarycache/s3store"
)

// Options are the settings for opening caches.
type Options struct {
	Netrc   string // a file; "": ~/.netrc, if it exists
	Version string // of narseal, for the servers' logs
}

// A Cache is an open binary cache.
type Cache struct {
	// Store gives access to the cache's objects.
	Store binarycache.Store

	// Name is the name that the user gave, without credentials. It is for messages and reports.
	Name string

	// Dir is the directory of the cache. It is empty for a cache on the network.
	Dir string

	url   string   // of a cache on the network
	files []string // files that the run has to read, such as credentials
}

// IsURL reports whether name is a URL, not a path.
func IsURL(name string) bool { return strings.Contains(name, "://") }

// Open opens a cache. For S3 it looks up the credentials, which may run a program or send a request. It sends no
// request to the cache itself.
func Open(ctx context.Context, name string, o Options) (*Cache, error) {
	if !IsURL(name) {
		return &Cache{Store: folder.New(name), Name: name, Dir: name}, nil
	}
	scheme, _, _ := strings.Cut(name, "://")
	switch scheme {
	case "file":
		return openFile(name)
	case "http", "https":
		s, err := httpstore.New(name, httpstore.Options{Netrc: o.Netrc, UserAgent: "narseal/" + o.Version})
		if err != nil {
			return nil, fmt.Errorf("cache %s: %w", Redact(name), err)
		}
		return &Cache{Store: s, Name: s.URL(), url: s.URL()}, nil
	case "s3":
		s, err := s3store.New(name, s3store.Options{Program: "narseal", Release: o.Version})
		if err != nil {
			return nil, terminal.Usage("", "cache %s: %w", Redact(name), err)
		}
		if err := s.Connect(ctx); err != nil {
			return nil, fmt.Errorf("cache %s: %w", s.URL(), err)
		}
		return &Cache{Store: s, Name: s.URL(), url: s.URL(), files: s.Files()}, nil
	}
	return nil, terminal.Usage("", "cache %s: want a directory, or file:///DIR, https://HOST/PATH or s3://BUCKET", Redact(name))
}

func openFile(name string) (*Cache, error) {
	dir, ok := LocalDir(name)
	if !ok {
		return nil, terminal.Usage("", "cache %s: want file:///DIR", Redact(name))
	}
	return &Cache{Store: folder.New(dir), Name: name, Dir: dir}, nil
}

// LocalDir returns the directory of a cache with the name DIR or file:///DIR. ok is false for other URLs.
func LocalDir(name string) (dir string, ok bool) {
	if !IsURL(name) {
		return name, true
	}
	u, err := url.Parse(name)
	if err != nil || u.Scheme != "file" || u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return "", false
	}
	return filepath.FromSlash(u.Path), true // the query is only for Nix
}

// ID returns a name for the cache that is the same in every run, even before its directory exists.
func (c *Cache) ID() (string, error) {
	if c.Dir == "" {
		return c.url, nil
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return "", err
	}
	rest := ""
	for at := dir; ; at = filepath.Dir(at) {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return "", err
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// Same reports whether c and other are the same cache. Their directories need not exist yet.
func (c *Cache) Same(other *Cache) bool {
	if c.Dir == "" || other.Dir == "" {
		return c.Dir == other.Dir && c.url == other.url
	}
	if a, err := os.Stat(c.Dir); err == nil {
		if b, err := os.Stat(other.Dir); err == nil {
			return os.SameFile(a, b)
		}
	}
	return filepath.Clean(c.Dir) == filepath.Clean(other.Dir)
}

// Grant adds the rights to read or write the cache to a policy. For writing, it creates a missing directory, since
// rights can be granted only on files that exist.
func (c *Cache) Grant(p *sandbox.Policy, write bool) {
	switch {
	case c.Dir == "":
		p.Network = true
		p.Read = append(p.Read, c.files...)
	case write:
		_ = os.MkdirAll(filepath.Clean(c.Dir), 0o777) // if this fails, the run reports it
		p.Own = append(p.Own, c.Dir)
	default:
		p.Read = append(p.Read, c.Dir)
	}
}

// Warn prints the store's warnings that were not printed yet.
func (c *Cache) Warn(t *terminal.Terminal) {
	if s, ok := c.Store.(interface{ Warnings() []string }); ok {
		for _, w := range s.Warnings() {
			t.Warnf("%s", w)
		}
	}
}
