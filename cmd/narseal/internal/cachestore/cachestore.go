// Package cachestore opens a binary cache that the user names: a directory, or a file://, http://, https:// or s3://
// URL.
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

// Options are what caches need besides their names.
type Options struct {
	Netrc   string // a file; "": ~/.netrc, if it is there
	Version string // of narseal, for the servers' logs
}

// A Cache is a binary cache that was opened.
type Cache struct {
	// Store has the objects.
	Store binarycache.Store

	// Name is for messages and reports. It is as the user has given it, but without credentials.
	Name string

	// Dir is the directory of the cache. It is empty if the cache is behind a network.
	Dir string

	url   string   // behind a network
	files []string // that are read during the run
}

// IsURL reports whether a name is a URL and not a path.
func IsURL(name string) bool { return strings.Contains(name, "://") }

// Open opens a cache. It finds the credentials of S3, which may take a program or a request; the cache itself is not
// asked.
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

// LocalDir returns the directory of a cache that is one, by the name that the user gave: DIR or file:///DIR. ok is false for
// another URL.
func LocalDir(name string) (dir string, ok bool) {
	if !IsURL(name) {
		return name, true
	}
	u, err := url.Parse(name)
	if err != nil || u.Scheme != "file" || u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return "", false
	}
	return filepath.FromSlash(u.Path), true // what follows ? is for Nix
}

// ID names the cache in the same way each time, even before its directory exists.
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

// Same reports whether two names are of one cache. The directory of one may not exist yet.
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

// Grant adds to a policy what reading the cache needs, or writing it. A directory to be written is made if it is missing,
// as rights can be given only to what exists.
func (c *Cache) Grant(p *sandbox.Policy, write bool) {
	switch {
	case c.Dir == "":
		p.Network = true
		p.Read = append(p.Read, c.files...)
	case write:
		_ = os.MkdirAll(filepath.Clean(c.Dir), 0o777) // if it cannot be made, the run says so
		p.Own = append(p.Own, c.Dir)
	default:
		p.Read = append(p.Read, c.Dir)
	}
}

// Warn shows what the store has to say and was not shown yet.
func (c *Cache) Warn(t *terminal.Terminal) {
	if s, ok := c.Store.(interface{ Warnings() []string }); ok {
		for _, w := range s.Warnings() {
			t.Warnf("%s", w)
		}
	}
}
