// Package httpstore accesses a binary cache over HTTP, as Nix does for https://HOST/PATH. It uses PUT and DELETE to
// change the cache, if the server accepts them.
//
// The version of an object is its strong ETag. How conditions are checked depends on the server: see [Store].
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

// Options are the settings of a store.
type Options struct {
	// Netrc is the name of a file with the user names and passwords of hosts. If it is empty, .netrc in the home
	// directory is used, if that exists.
	Netrc string

	// UserAgent is the User-Agent header of requests.
	UserAgent string
}

// A Store is a [binarycache.Store] that is accessed over HTTP. It cannot be listed.
//
// Before the first Put with a condition, the Store writes a test object, and deletes it again, to find out whether the
// server checks If-Match and If-None-Match. If it does not, the Store checks conditions with HEAD right before each
// change, and Warnings says so. As for Nix, an object that the server refuses with 403 counts as missing.
type Store struct {
	*remote.Store
	server *server
}

// New returns the store at an http:// or https:// URL. It ignores the query, whose parameters are for Nix. It sends no
// request.
func New(address string, o Options) (*Store, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("not a URL") // the library's error may contain a password
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

// URL returns the URL of the cache without credentials.
func (s *Store) URL() string { return s.server.base.String() }

// List yields an error that wraps [errors.ErrUnsupported]: HTTP has no listing.
func (s *Store) List(context.Context, string) iter.Seq2[binarycache.Object, error] {
	return func(yield func(binarycache.Object, error) bool) {
		yield(binarycache.Object{}, fmt.Errorf("list %s: a cache behind HTTP has no listing: %w", s.URL(), errors.ErrUnsupported))
	}
}

// credentials returns the user name and password of a host in a netrc file.
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

// attributes lists the headers that a cache stores with an object.
var attributes = []string{"Content-Type", "Content-Encoding", "Cache-Control"}

// version returns a strong ETag without its quotes. An ETag of nginx consists of the size and the time in seconds. It
// does not identify a version as long as the object may change again within the same second; then version returns it as
// young instead. age is the age of the object, or -1 if unknown.
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

// strongTag returns a strong ETag without its quotes, or "".
func strongTag(h http.Header) binarycache.Version {
	tag := h.Get("ETag")
	if len(tag) < 3 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	return binarycache.Version(tag[1 : len(tag)-1])
}

// ofTime matches ETags of nginx and Apache, which contain a time.
var ofTime = regexp.MustCompile(`^[0-9a-f]+-[0-9a-f]+$`)

func quoted(v binarycache.Version) string { return `"` + string(v) + `"` }
