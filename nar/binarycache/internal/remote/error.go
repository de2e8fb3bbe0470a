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

// An Error says why a request to a server failed.
type Error struct {
	Status int    // HTTP status; 0 if there was no response
	Code   string // error code of S3, such as "SlowDown"
	Text   string // message of the server, if it says more than Status
	Err    error  // why there was no response
	Advice string // a hint for the user; may be empty

	// Absent says that the object may be missing.
	Absent bool
	// Denied says that the server does not accept the credentials, or that there are none.
	Denied bool
	// Again says that another try may succeed, regardless of Status.
	Again bool
	// Malformed says that the response makes no sense. It may have been damaged in transit, but not if it comes again.
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

// Hint returns a hint for the user, or "".
func (e *Error) Hint() string { return e.Advice }

// Is reports whether the error matches fs.ErrNotExist or fs.ErrPermission. It may match both, since a server may deny
// access to a missing object.
func (e *Error) Is(target error) bool {
	return target == fs.ErrNotExist && e.Absent || target == fs.ErrPermission && e.Denied
}

// precondition reports whether the server refused a request because its condition was false.
func (e *Error) precondition() bool { return e.Status == http.StatusPreconditionFailed }

// Network returns the error of a request without a response. It leaves out the URL in errors of package net/http, which
// may contain credentials.
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
			e.Advice = "the certificate is for another host: are the URL and the proxy right?"
		}
	case errors.As(err, &record), plain:
		e.Again, e.Advice = false, "the server does not speak TLS on this port: is it http:// (for S3: ?scheme=http)?"
	case errors.As(err, &op) && op.Op == "proxyconnect":
		e.Advice = "the environment names a proxy: is it right, and is it running (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)?"
	case errors.As(err, &unknown) && unknown.IsNotFound:
		e.Again, e.Advice = false, "is the host's name right, and does it need a proxy (HTTPS_PROXY)?"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Advice = "no server listens there: are the host and the port right, and does the server run?"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		e.Advice = "the host is unreachable: is this machine on the network, and does it need a proxy (HTTPS_PROXY)?"
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		e.Advice = "the host does not answer: is its name right? Is there a firewall, or is a proxy needed (HTTPS_PROXY)?"
	}
	return e
}

// ProxyAdvice is the hint for a response of a proxy that requires a user name and a password.
const ProxyAdvice = "the proxy wants a user name and a password: HTTPS_PROXY or HTTP_PROXY may have them, as http://USER:PASSWORD@HOST:PORT"

// proxyAnswer returns the error of a proxy that does not connect to the server.
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

// Clip makes text from a server fit for a message.
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
