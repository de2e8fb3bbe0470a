package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// secrets holds the credentials that requests have sent, so that they do not get into a message if a server sends them
// back. The zero value is ready to use.
type secrets struct {
	mu    sync.Mutex
	kinds []*secretsOf
}

// secretsOf holds the secrets of one kind. A new secret displaces only older ones of its kind, so that a token that is
// renewed every hour does not displace a password.
type secretsOf struct {
	kind string
	last string // that was added
	all  []string
}

// Kinds of secrets; others are the names of headers and environment variables.
const (
	ofServer    = "server"
	ofProxy     = "proxy"
	ofToken     = "token"
	ofContainer = "container"
)

// serviceTokens are the headers with the tokens for services that give credentials.
var serviceTokens = [...]string{"X-Amz-Sso_bearer_token", "X-Aws-Ec2-Metadata-Token"}

// maxSecrets is the maximum number of forms of secrets of one kind that are kept. If credentials are renewed, the latest
// ones are kept.
const maxSecrets = 64

// note adds the secrets of a request.
func (s *secrets) note(h http.Header) {
	authorization, token := h.Get("Authorization"), h.Get("X-Amz-Security-Token")
	if token != "" {
		s.add(ofToken, token)
	}
	for _, name := range serviceTokens {
		if token := h.Get(name); token != "" {
			s.add(name, token)
		}
	}
	if authorization == "" {
		return
	}
	if !strings.Contains(authorization, " ") { // as for the credential service of a container
		s.add(ofContainer, authorization)
	}
	if encoded, basic := strings.CutPrefix(authorization, "Basic "); basic { // other schemes have a signature for only one request
		s.noteBasic(ofServer, encoded)
	}
}

// noteBasic adds a user name and password in the forms in which they are sent.
func (s *secrets) noteBasic(kind, encoded string) {
	all := []string{encoded}
	if b, err := base64.StdEncoding.DecodeString(encoded); err == nil {
		_, password, _ := strings.Cut(string(b), ":")
		all = append(all, string(b), password)
	}
	s.add(kind, all...)
}

// add adds secrets, unless the first one is the last of its kind that was added.
func (s *secrets) add(kind string, secrets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.kinds, func(k *secretsOf) bool { return k.kind == kind })
	if i < 0 {
		i, s.kinds = len(s.kinds), append(s.kinds, &secretsOf{kind: kind})
	}
	k := s.kinds[i]
	if k.last == secrets[0] {
		return
	}
	k.last = secrets[0]
	for _, secret := range secrets {
		for _, form := range forms(secret) {
			if len(form) < 4 || slices.Contains(k.all, form) {
				continue // a short one would match everywhere
			}
			if len(k.all) == maxSecrets {
				k.all = k.all[1:]
			}
			k.all = append(k.all, form)
		}
	}
}

// forms returns a secret in the forms of URLs, HTML and quoted strings, in lower case.
func forms(secret string) []string {
	quoted := strconv.Quote(secret)
	all := []string{secret, strings.TrimRight(secret, "="), url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret), quoted[1 : len(quoted)-1]}
	for i, form := range all {
		all[i] = toLower(form)
	}
	return all
}

// toLower converts only ASCII letters to lower case, so that offsets do not change. A server may change the case, for
// example in the name of a host.
func toLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Hide replaces secrets that requests have sent in text from a server. If the text has one in a form that cannot be found by
// its characters, Hide replaces all of it.
func (t *Transport) Hide(text string) string {
	t.secrets.mu.Lock()
	defer t.secrets.mu.Unlock()
	if len(t.secrets.kinds) == 0 {
		return text
	}
	lower := toLower(text)
	for _, k := range t.secrets.kinds {
		for _, secret := range k.all {
			for at := 0; ; at += len(hidden) {
				i := strings.Index(lower[at:], secret)
				if i < 0 {
					break
				}
				at += i
				text = text[:at] + hidden + text[at+len(secret):]
				lower = lower[:at] + hidden + lower[at+len(secret):]
			}
		}
	}
	for _, decoded := range decodings(text) {
		if t.secrets.in(toLower(decoded)) {
			return hidden
		}
	}
	return text
}

// in reports whether a text in lower case has a secret. The caller holds mu.
func (s *secrets) in(lower string) bool {
	return slices.ContainsFunc(s.kinds, func(k *secretsOf) bool {
		return slices.ContainsFunc(k.all, func(secret string) bool { return strings.Contains(lower, secret) })
	})
}

const hidden = "(hidden)"

// maxAttribute is the maximum length of an attribute, in bytes.
const maxAttribute = 256

// TakesAttribute reports whether an object may have an attribute with this value: it must be short, be accepted by
// every server, and contain no secret of a request. Other attributes are dropped.
func (t *Transport) TakesAttribute(v string) bool {
	return v != "" && len(v) <= maxAttribute && t.Hide(v) == v &&
		!strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' })
}

// A hiddenError is an error whose text hides the secrets of requests. They may come from the target of a redirect, a
// certificate or a response.
type hiddenError struct {
	err       error
	transport *Transport
}

func (e *hiddenError) Error() string { return e.transport.Hide(e.err.Error()) }
func (e *hiddenError) Unwrap() error { return e.err }

// Hint returns the hint of the wrapped error.
func (e *hiddenError) Hint() string {
	var below interface{ Hint() string }
	if errors.As(e.err, &below) {
		return e.transport.Hide(below.Hint())
	}
	return ""
}

// Fail adds an operation and a name to an error, and hides secrets. Every error of a store goes through it.
func (t *Transport) Fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: &hiddenError{err, t}}
}

// Noting returns a transport that sends requests with rt, and notes their secrets for Hide.
func (t *Transport) Noting(rt http.RoundTripper) http.RoundTripper { return &noting{t, rt} }

type noting struct {
	*Transport
	rt http.RoundTripper
}

func (n *noting) RoundTrip(req *http.Request) (*http.Response, error) {
	n.secrets.note(req.Header)
	return n.rt.RoundTrip(req)
}

// Note adds a secret that is not in a header. kind is where it is from.
func (t *Transport) Note(kind, secret string) {
	if secret = strings.TrimSpace(secret); secret != "" {
		t.secrets.add(kind, secret)
	}
}

// badAnswers lists the beginnings of package net/http's errors about responses that are not HTTP, before what they
// quote.
var badAnswers = []string{
	"malformed HTTP response", "malformed HTTP status code", "malformed HTTP version", "malformed MIME header", "bad Content-Length",
	"invalid Content-Length", "unsupported transfer encoding", "too many transfer encodings", "malformed chunked encoding",
	"invalid byte in chunk length", "server response headers exceeded", "failed to parse Location header", "header line too long",
	"http chunk length too large", "too many trailer bytes",
}

// A badAnswer is the error of a response that is not HTTP.
type badAnswer struct{ text string }

func (e *badAnswer) Error() string { return e.text }

// quotesNothing returns an error that quotes nothing from a response, which may contain the request's credentials.
// Errors of the network and of TLS, ends and timeouts do not quote responses.
func quotesNothing(err error) error {
	var (
		own     *Error
		op      *net.OpError
		dns     *net.DNSError
		errno   syscall.Errno
		verify  *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		unknown x509.UnknownAuthorityError
		timeout net.Error
	)
	switch {
	case errors.As(err, &op):
		if inner := quotesNothing(op.Err); inner != op.Err {
			return fmt.Errorf("%s: %w", op.Op, inner)
		}
		return err
	case errors.As(err, &own), errors.As(err, &dns), errors.As(err, &errno),
		errors.As(err, &verify), errors.As(err, &record), errors.As(err, &alert), errors.As(err, &unknown),
		errors.As(err, &timeout) && timeout.Timeout(),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrNoProgress), errors.Is(err, net.ErrClosed):
		return err
	}
	text := err.Error()
	for _, bad := range badAnswers {
		if strings.Contains(text, bad) {
			return &badAnswer{"an answer that is not HTTP: " + bad}
		}
	}
	if quoted := strings.IndexByte(text, '"'); quoted >= 0 {
		return &badAnswer{fmt.Sprintf("an answer that cannot be read (%T)", err)}
	}
	return err
}
