package httpstore

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/internal/remote"
	"narseal/nar/binarycache/narinfo"
)

// A server sends requests. It is the Backend of the store.
type server struct {
	transport      *remote.Transport
	base           *url.URL
	user, password string
	agent          []string // the User-Agent
}

// URL returns the URL of an object without credentials.
func (s *server) URL(name string) string {
	u := s.address(name)
	u.RawQuery = ""
	return u.String()
}

// address returns the URL of an object. As for Nix, a question mark in the name of a NAR begins a query. All other
// characters are escaped, so that no name leads out of the cache.
func (s *server) address(name string) *url.URL {
	u := *s.base
	if narinfo.IsNAR(name) {
		name, u.RawQuery, _ = strings.Cut(name, "?")
	}
	if name == "" {
		return &u
	}
	if u.RawPath != "" {
		u.RawPath += (&url.URL{Path: "/" + name}).EscapedPath()
	}
	u.Path += "/" + name
	return &u
}

// maxRedirects is the maximum number of redirects in a row.
const maxRedirects = 10

// maxMessage is the maximum number of bytes of a server's message that are read.
const maxMessage = 4 << 10

// do sends a request. GET and HEAD follow redirects, but not from https to http, and send no credentials to another
// server. A status other than 2xx is an error.
func (s *server) do(ctx context.Context, method, name string, header http.Header, body io.Reader, size int64) (*http.Response, error) {
	u := s.address(name)
	origin := u
	for hop := 0; ; hop++ {
		req := (&http.Request{Method: method, URL: u, Host: u.Host, Header: make(http.Header, 4), ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
		maps.Copy(req.Header, header)
		req.Header["User-Agent"], req.Header["Accept-Encoding"] = s.agent, identity
		if (s.user != "" || s.password != "") && u.Scheme == origin.Scheme && u.Host == origin.Host {
			req.SetBasicAuth(s.user, s.password)
		}
		if body != nil {
			if req.ContentLength = size; size == 0 {
				req.Body = http.NoBody
			} else {
				req.Body = io.NopCloser(body)
			}
			if size > expectSize {
				req.Header.Set("Expect", "100-continue") // the server can refuse before all of it is sent
			}
		}
		resp, err := s.transport.RoundTrip(req)
		if err != nil {
			return nil, remote.Network(err)
		}
		if resp.StatusCode/100 == 2 {
			return resp, nil
		}
		next, err := s.redirect(method, u, resp, hop)
		if next == nil {
			return nil, err
		}
		u = next
	}
}

// identity is the Accept-Encoding header, since objects are passed on unchanged. It must not be modified.
var identity = []string{"identity"}

// expectSize is the minimum size in bytes of a body that is sent only after the server has accepted the headers.
const expectSize = 1 << 20

// redirect returns the target of a redirect, or an error. It closes the response.
func (s *server) redirect(method string, from *url.URL, resp *http.Response, hop int) (*url.URL, error) {
	defer remote.Drain(resp.Body)
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, s.refusal(method, resp)
	}
	fail := func(text string) (*url.URL, error) {
		return nil, &remote.Error{Status: resp.StatusCode, Text: text}
	}
	to, err := from.Parse(resp.Header.Get("Location"))
	switch {
	case err != nil || resp.Header.Get("Location") == "":
		return fail("a redirect to an invalid URL")
	case to.Scheme != "http" && to.Scheme != "https" || to.Host == "":
		return fail("a redirect to neither http nor https")
	case from.Scheme == "https" && to.Scheme != "https":
		return fail("a redirect from https to http, which is not followed")
	case !isPlainHost(to.Host):
		return fail("a redirect to a host whose name is not ASCII or has a zone")
	case s.transport.Hide(to.Host) != to.Host: // the DNS lookup would disclose a secret
		return fail("a redirect to a host whose name contains a secret of the request")
	case method != http.MethodGet && method != http.MethodHead:
		return nil, &remote.Error{Status: resp.StatusCode, Text: "the server redirects the write, which is not followed",
			Advice: "name the cache by the URL to which the server redirects"}
	case hop >= maxRedirects:
		return fail(fmt.Sprintf("more than %d redirects", maxRedirects))
	}
	to.User, to.Fragment = nil, ""
	return to, nil
}

// isPlainHost reports whether a host's name means the same to every program: it is ASCII, and has no zone.
func isPlainHost(host string) bool {
	return strings.IndexFunc(host, func(r rune) bool { return r == '%' || r >= utf8.RuneSelf }) < 0
}

// refusal returns the error of a response.
func (s *server) refusal(method string, resp *http.Response) error {
	e := &remote.Error{Status: resp.StatusCode}
	if kind := resp.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/plain") && resp.StatusCode >= 400 {
		var b []byte
		_ = remote.Soon(resp.Body, func() (err error) {
			b, err = io.ReadAll(io.LimitReader(resp.Body, maxMessage))
			return err
		})
		if e.Text = remote.Clip(s.transport.Hide(string(b))); strings.Contains(strings.ToLower(e.Text), strings.ToLower(http.StatusText(e.Status))) {
			e.Text = ""
		}
	}
	write := method == http.MethodPut || method == http.MethodDelete
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		e.Absent = !write || method == http.MethodDelete
	case http.StatusForbidden:
		e.Denied, e.Absent = true, !write
		e.Advice = "some servers answer this for missing objects; otherwise the user name and password in ~/.netrc or --netrc-file are wrong"
	case http.StatusProxyAuthRequired:
		e.Denied, e.Advice = true, remote.ProxyAdvice
	case http.StatusUnauthorized:
		e.Denied = true
		e.Advice = "the server requires a user name and a password: put them into ~/.netrc, or name a file with --netrc-file"
	}
	if method == http.MethodPut {
		switch resp.StatusCode {
		case http.StatusNotFound, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			e.Advice = "the server must accept PUT, as nginx does with dav_methods PUT DELETE; " +
				"or write a directory with --output DIR and upload that"
		case http.StatusRequestEntityTooLarge:
			e.Advice = "the server limits the size of files: set client_max_body_size 0 in nginx"
		case http.StatusConflict:
			e.Advice = "the server may not create directories: set create_full_put_path on in nginx"
		}
	}
	return e
}

// object describes the object of a response. The returned Answer has no body; it has the values that tell versions
// apart.
func (s *server) object(name string, resp *http.Response) *remote.Answer {
	modified, age := times(resp.Header)
	a := &remote.Answer{Object: binarycache.Object{Name: name, Size: resp.ContentLength, ModTime: modified}}
	if a.Version, a.Young = version(resp.Header, age); a.Version == "" {
		a.Since = unmodified(modified, age)
	}
	for _, name := range attributes {
		if v := resp.Header.Get(name); s.transport.TakesAttribute(v) {
			if a.Attributes == nil {
				a.Attributes = make(map[string]string, len(attributes))
			}
			a.Attributes[name] = v
		}
	}
	return a
}

// Get reads an object.
func (s *server) Get(ctx context.Context, name string, from int64, before *remote.Answer) (*remote.Answer, error) {
	var header http.Header
	if before != nil {
		header = http.Header{}
		switch {
		case before.Version != "":
			header.Set("If-Match", quoted(before.Version))
		case before.Since != "":
			header.Set("If-Unmodified-Since", before.Since)
		case before.Young != "" && narinfo.IsNAR(name): // readers of a NAR check its hash
			header.Set("If-Match", quoted(before.Young))
		default:
			return nil, &remote.Error{Text: "the server cannot tell versions of the object apart (it sends no ETag)"}
		}
		if from > 0 {
			header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		}
	}
	resp, err := s.do(ctx, http.MethodGet, name, header, nil, 0)
	if err != nil {
		return nil, err
	}
	if err := remote.CheckEnd(resp, name); err != nil {
		resp.Body.Close()
		return nil, err
	}
	a := s.object(name, resp)
	a.Body = resp.Body
	if resp.StatusCode == http.StatusPartialContent {
		a.From = from
		if a.Size, err = rangeOf(resp.Header.Get("Content-Range"), from); err != nil {
			resp.Body.Close()
			return nil, err
		}
	} else if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, &remote.Error{Status: resp.StatusCode, Text: "want 200"}
	}
	if before != nil && before.Young != "" && a.Version == before.Young {
		a.Version, a.Since, a.Young = "", before.Since, a.Version // it is old enough now
	}
	if before != nil && (a.Version != before.Version || a.Young != before.Young || a.Since != before.Since || before.Size >= 0 && a.Size != before.Size) {
		resp.Body.Close()
		return nil, &remote.Error{Status: http.StatusPreconditionFailed, Text: "the object has changed"}
	}
	return a, nil
}

// rangeOf returns the size of the object from a Content-Range, which must cover everything from offset from on.
func rangeOf(s string, from int64) (int64, error) {
	var first, last, size int64
	if n, err := fmt.Sscanf(s, "bytes %d-%d/%d", &first, &last, &size); n != 3 || err != nil || first != from || last != size-1 || from > last {
		return 0, &remote.Error{Status: http.StatusPartialContent, Text: "Content-Range is not all from " + strconv.FormatInt(from, 10) + " on"}
	}
	return size, nil
}

// unmodified returns the Last-Modified of a response if it tells versions apart: if the object is older than a minute,
// a later change has another time (RFC 9110, 8.8.2.2).
func unmodified(modified time.Time, age time.Duration) string {
	if age >= time.Minute {
		return modified.UTC().Format(http.TimeFormat)
	}
	return ""
}

// times returns the time of an object's last change, if the server states it, and its age at the time of the response,
// or -1 if that is unknown.
func times(h http.Header) (modified time.Time, age time.Duration) {
	modified, err1 := http.ParseTime(h.Get("Last-Modified"))
	now, err2 := lastDate.parse(h.Get("Date"))
	if err1 != nil || err2 != nil {
		return modified, -1
	}
	return modified, max(now.Sub(modified), 0)
}

// lastDate caches the last Date that was parsed, since many responses have the same one.
var lastDate dateCache

type dateCache struct{ last atomic.Pointer[parsedDate] }

type parsedDate struct {
	text string
	at   time.Time
}

func (c *dateCache) parse(text string) (time.Time, error) {
	if d := c.last.Load(); d != nil && d.text == text {
		return d.at, nil
	}
	at, err := http.ParseTime(text)
	if err == nil {
		c.last.Store(&parsedDate{strings.Clone(text), at})
	}
	return at, err
}

// Head describes an object.
func (s *server) Head(ctx context.Context, name string) (binarycache.Object, error) {
	resp, err := s.do(ctx, http.MethodHead, name, nil, nil, 0)
	if err != nil {
		return binarycache.Object{}, err
	}
	resp.Body.Close()
	return s.object(name, resp).Object, nil
}

// Delete deletes an object.
func (s *server) Delete(ctx context.Context, name string, cond binarycache.Condition) error {
	header := http.Header{}
	if cond.Version != "" {
		header.Set("If-Match", quoted(cond.Version))
	}
	resp, err := s.do(ctx, http.MethodDelete, name, header, nil, 0)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
