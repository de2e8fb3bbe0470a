package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
)

// secrets holds what requests have sent to show who asks, so that a server which sends it back does not bring it into a
// message. The zero value is ready to use.
type secrets struct {
	mu   sync.Mutex
	last [ofService + len(serviceTokens)]string // that was added last, by what it is for
	all  []string
}

// What a secret is for.
const (
	ofServer = iota
	ofProxy
	ofToken
	ofBody
	ofService // and on
)

// serviceTokens are the headers that show the services who give credentials who asks.
var serviceTokens = [...]string{"X-Amz-Sso_bearer_token", "X-Aws-Ec2-Metadata-Token"}

// maxSecrets is how many secrets are kept: of credentials that are renewed, the latest count.
const maxSecrets = 32

// note adds the secrets of a request.
func (s *secrets) note(h http.Header) {
	authorization, token := h.Get("Authorization"), h.Get("X-Amz-Security-Token")
	if token != "" {
		s.add(ofToken, token)
	}
	for i, name := range serviceTokens {
		if token := h.Get(name); token != "" {
			s.add(ofService+i, token)
		}
	}
	if authorization == "" {
		return
	}
	if !strings.Contains(authorization, " ") { // as the service of a container wants it
		s.add(ofToken, authorization)
	}
	if encoded, basic := strings.CutPrefix(authorization, "Basic "); basic { // a signature is good for one request
		s.noteBasic(ofServer, encoded)
	}
}

// noteBasic adds a user name and password as they are sent.
func (s *secrets) noteBasic(of int, encoded string) {
	all := []string{encoded}
	if b, err := base64.StdEncoding.DecodeString(encoded); err == nil {
		_, password, _ := strings.Cut(string(b), ":")
		all = append(all, string(b), password)
	}
	s.add(of, all...)
}

// add adds a secret and other forms of it, unless it is the one that was added last.
func (s *secrets) add(of int, forms ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last[of] == forms[0] {
		return
	}
	s.last[of] = forms[0]
	for _, form := range forms {
		if len(form) < 4 {
			continue // it would be found everywhere
		}
		if len(s.all) == maxSecrets {
			s.all = s.all[1:]
		}
		s.all = append(s.all, form)
	}
}

// Hide replaces the secrets that requests have sent in what a server says.
func (t *Transport) Hide(text string) string {
	t.secrets.mu.Lock()
	defer t.secrets.mu.Unlock()
	for _, secret := range t.secrets.all {
		text = strings.ReplaceAll(text, secret, "(hidden)")
	}
	return text
}

// Note adds a secret that is not in a header.
func (t *Transport) Note(secret string) {
	if secret = strings.TrimSpace(secret); secret != "" {
		t.secrets.add(ofBody, secret)
	}
}

// badAnswers are what package net/http says of answers that are not HTTP, before what it quotes of them.
var badAnswers = []string{
	"malformed HTTP response", "malformed HTTP status code", "malformed HTTP version", "malformed MIME header", "bad Content-Length",
	"invalid Content-Length", "unsupported transfer encoding", "too many transfer encodings", "malformed chunked encoding",
	"invalid byte in chunk length", "server response headers exceeded", "failed to parse Location header", "header line too long",
	"http chunk length too large", "too many trailer bytes",
}

// A badAnswer is an answer that is not HTTP.
type badAnswer struct{ text string }

func (e *badAnswer) Error() string { return e.text }

// quotesNothing returns an error that repeats nothing of an answer: it may hold what the request said to show who asks. Errors
// of the network, of TLS, and of ends and timeouts do not quote.
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
