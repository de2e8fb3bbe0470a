// Package httpstore is a binary cache behind HTTP, as Nix reads it at https://HOST/PATH. It uses PUT and DELETE to
// change the cache, if the server accepts them.
//
// The version of an object is its strong ETag. Conditions are checked as the server can: see [Store].
package httpstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/internal/remote"
)

// Options are what a store needs besides its URL.
type Options struct {
	// Netrc is a file with the user names and passwords of hosts. "" is .netrc in the home directory, if it is there.
	Netrc string

	// UserAgent is what the program calls itself.
	UserAgent string
}

// A Store is a [binarycache.Store] behind HTTP. It cannot be listed.
//
// Whether the server checks If-Match and If-None-Match is found out before the first Put with a condition, by an object
// that is deleted again. If it does not, a condition is checked by HEAD right before, and Warnings says so. An object that
// the server refuses with 403 counts as missing, too, as for Nix.
type Store struct {
	*remote.Store
	server *server
}

// New returns the store at an http:// or https:// URL. What follows a question mark is for Nix, and ignored. It sends
// nothing.
func New(address string, o Options) (*Store, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("not a URL") // the error would show a password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("want http://HOST/PATH or https://HOST/PATH")
	}
	t, err := remote.NewTransport("NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
	if err != nil {
		return nil, err
	}
	s := &server{transport: t, agent: []string{o.UserAgent}, base: &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}}
	s.base.Path, s.base.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	if u.User != nil {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
	} else if s.user, s.password, err = credentials(o.Netrc, u.Hostname()); err != nil {
		return nil, err
	}
	return &Store{remote.NewStore(s, t), s}, nil
}

// URL is the address of the cache without credentials.
func (s *Store) URL() string { return s.server.base.String() }

// List is not possible: HTTP has no listing.
func (s *Store) List(context.Context, string) iter.Seq2[binarycache.Object, error] {
	return func(yield func(binarycache.Object, error) bool) {
		yield(binarycache.Object{}, fmt.Errorf("list %s: a cache behind HTTP has no listing: %w", s.URL(), errors.ErrUnsupported))
	}
}

// credentials are those of a host in a netrc file.
func credentials(file, host string) (user, password string, err error) {
	name := file
	if name == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", "", nil
		}
		name = filepath.Join(home, ".netrc")
	}
	f, err := os.Open(name)
	if err != nil {
		if file == "" && (errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission)) {
			return "", "", nil
		}
		return "", "", err
	}
	defer f.Close()
	list, err := parseNetrc(f)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", name, err)
	}
	for _, m := range list {
		if m.host == "" || strings.EqualFold(m.host, host) {
			return m.login, m.password, nil
		}
	}
	return "", "", nil
}

// attributes are the headers that a cache keeps with an object.
var attributes = []string{"Content-Type", "Content-Encoding", "Cache-Control"}

// version is a strong ETag without its quotes. One that is made of the size and the time in seconds, as nginx makes it,
// is as good as none while the same second may bring another object: then it is young instead. age is that of the object,
// or -1.
func version(h http.Header, age time.Duration) (v, young binarycache.Version) {
	tag := strongTag(h)
	if isYoung(tag, age) {
		return "", tag
	}
	return tag, ""
}

func isYoung(tag binarycache.Version, age time.Duration) bool {
	return age >= 0 && age < 2*time.Second && ofTime.MatchString(string(tag))
}

// strongTag is an ETag without its quotes, unless it is a weak one.
func strongTag(h http.Header) binarycache.Version {
	tag := h.Get("ETag")
	if len(tag) < 3 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	return binarycache.Version(tag[1 : len(tag)-1])
}

// ofTime is an ETag of nginx or Apache.
var ofTime = regexp.MustCompile(`^[0-9a-f]+-[0-9a-f]+$`)

func quoted(v binarycache.Version) string { return `"` + string(v) + `"` }
