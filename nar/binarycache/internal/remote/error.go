package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"unicode"
)

// An Error is why a server has not done what it was asked for.
type Error struct {
	Status int    // of HTTP; 0 if there was no answer
	Code   string // of S3, such as "SlowDown"
	Text   string // what the server says, as far as it says more than Status
	Err    error  // why there was no answer
	Advice string // what the user can do; may be empty

	// Absent says that the object is missing, as far as the server says anything about it.
	Absent bool
	// Denied says that the server does not accept the credentials, or that there are none.
	Denied bool
	// Again says that another try may go well although the status does not say so.
	Again bool
	// Malformed says that there was an answer that makes no sense. It may have been damaged on its way; one that comes
	// again was not.
	Malformed bool
}

func (e *Error) Error() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.Status == 0 && e.Code == "":
		return e.Text
	}
	var parts []string
	if e.Status != 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))))
	}
	if e.Code != "" && !strings.Contains(strings.ReplaceAll(http.StatusText(e.Status), " ", ""), e.Code) {
		parts = append(parts, e.Code)
	}
	if e.Text != "" {
		parts = append(parts, e.Text)
	}
	return strings.Join(parts, ": ")
}

func (e *Error) Unwrap() error { return e.Err }

// Hint is what the user can do about the error; it may be empty.
func (e *Error) Hint() string { return e.Advice }

// Is makes the error fs.ErrNotExist, fs.ErrPermission, or both: a server may refuse what is missing.
func (e *Error) Is(target error) bool {
	return target == fs.ErrNotExist && e.Absent || target == fs.ErrPermission && e.Denied
}

// precondition reports whether the server has refused a request for its condition.
func (e *Error) precondition() bool { return e.Status == http.StatusPreconditionFailed }

// Network is the error of a request without an answer. What package net/http says of the URL is left out: it may hold
// credentials.
func Network(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	plain := strings.Contains(err.Error(), "HTTP response to HTTPS client")
	e := &Error{Err: quotesNothing(err), Again: true}
	var bad *badAnswer
	e.Malformed = errors.As(e.Err, &bad)
	var (
		op       *net.OpError
		unknown  *net.DNSError
		verify   *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		expired  x509.CertificateInvalidError
		hostname x509.HostnameError
	)
	switch {
	case errors.As(err, &verify):
		e.Again, e.Advice = false, "SSL_CERT_FILE or NIX_SSL_CERT_FILE names a file of the certificates to trust"
		if errors.As(err, &expired) && expired.Reason == x509.Expired {
			e.Advice = "the certificate has expired, or the clock of this machine is wrong"
		} else if errors.As(err, &hostname) {
			e.Advice = "the certificate is of another host: is the URL right, and the proxy?"
		}
	case errors.As(err, &record), plain:
		e.Again, e.Advice = false, "the server does not speak TLS on this port: is it http:// (for S3: ?scheme=http)?"
	case errors.As(err, &op) && op.Op == "proxyconnect":
		e.Advice = "the environment names a proxy: is it right, and running (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)?"
	case errors.As(err, &unknown) && unknown.IsNotFound:
		e.Again, e.Advice = false, "is the host's name right, and does it need a proxy (HTTPS_PROXY)?"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Advice = "no server listens there: are the host and the port right, and does the server run?"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		e.Advice = "there is no way to the host: is this machine on the network, and does it need a proxy (HTTPS_PROXY)?"
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		e.Advice = "the host does not answer: is its name right, and does a firewall or a missing proxy (HTTPS_PROXY) stand between?"
	}
	return e
}

// ProxyAdvice is for an answer of a proxy that wants to know who asks.
const ProxyAdvice = "the proxy wants a user name and a password: HTTPS_PROXY or HTTP_PROXY may have them, as http://USER:PASSWORD@HOST:PORT"

// proxyAnswer is the error of a proxy that does not connect to the server.
func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	e := &Error{Status: resp.StatusCode, Text: "from the proxy, which does not connect to the server"}
	if resp.StatusCode == http.StatusProxyAuthRequired {
		e.Denied, e.Advice = true, ProxyAdvice
	}
	return e
}

// Clip makes what a server says fit for a message.
func Clip(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s[:min(len(s), 4*most)])
	if s = strings.TrimSpace(s); len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
