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
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"narseal/nar/binarycache/narinfo"
)

// Limits for connections.
const (
	silence   = 60 * time.Second // maximum time without a byte in either direction
	idle      = 30 * time.Second // maximum time between requests
	maxHeader = 64 << 10         // bytes of a response's header
	maxIdle   = 256              // idle connections that are kept for each server
	maxCAFile = 16 << 20
)

// A Transport sends requests to servers. It uses only HTTP/1.1: with HTTP/2, a reader that pauses would look like a
// silent server, and one broken connection would break every request.
type Transport struct {
	direct   direct
	base     http.Transport // for requests that direct does not take
	pace     pace
	silence  time.Duration
	answered atomic.Bool // a server has responded at least once
	failed   failures
	secrets  secrets
}

// NewTransport returns a Transport that uses the proxies of the environment. The first environment variable in
// caVariables that is set names a file of certificates to trust instead of the system's.
func NewTransport(caVariables ...string) (*Transport, error) {
	pool, err := certificates(caVariables)
	if err != nil {
		return nil, err
	}
	t := &Transport{silence: silence}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return newConn(c, t.silence), nil
	}
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	t.direct = direct{dial: dial, tls: config}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t.base = http.Transport{
		Proxy:                  t.proxy,
		OnProxyConnectResponse: proxyAnswer,
		DialContext:            dial,
		Protocols:              protocols,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    handshakeTimeout,
		ExpectContinueTimeout:  2 * time.Second,
		ResponseHeaderTimeout:  silence + wholeTime,
		IdleConnTimeout:        idle,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // objects are passed on unchanged
		ReadBufferSize:         64 << 10,
		WriteBufferSize:        64 << 10,
	}
	return t, nil
}

// proxy calls [http.ProxyFromEnvironment] and replaces its errors, which may contain the proxy's password.
func (t *Transport) proxy(req *http.Request) (p *url.URL, err error) {
	if p, err = http.ProxyFromEnvironment(req); err != nil {
		return nil, errors.New("the environment names a proxy that is not a URL: see HTTP_PROXY and HTTPS_PROXY")
	}
	if p != nil && p.User != nil {
		password, _ := p.User.Password()
		t.secrets.noteBasic(ofProxy, base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+password)))
	}
	return p, nil
}

// certificates reads the file that the first of these variables names. It returns nil if none is set.
func certificates(variables []string) (*x509.CertPool, error) {
	for _, v := range variables {
		name := os.Getenv(v)
		if name == "" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v, err)
		}
		b, err := io.ReadAll(io.LimitReader(f, maxCAFile))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v, err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s: %s: no certificate in it", v, name)
		}
		return pool, nil
	}
	return nil, nil // the system's
}

// RoundTrip sends one request, after waiting for the pace that the server asks for.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.pace.wait(req.Context()); err != nil {
		return nil, err
	}
	t.secrets.note(req.Header)
	resp, err := t.send(req)
	if err != nil {
		return nil, err
	}
	t.answered.Store(true)
	resp.Header.Del("Set-Cookie") // otherwise a client may store cookies
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		t.pace.slow(retryAfter(resp.Header.Get("Retry-After"), time.Now()))
	default:
		if resp.StatusCode < 500 {
			t.pace.ok()
		}
	}
	return resp, nil
}

// send sends a request directly if possible.
func (t *Transport) send(req *http.Request) (*http.Response, error) {
	if t.direct.takes(req) {
		if proxy, err := t.proxy(req); err != nil || proxy == nil {
			if err != nil {
				return nil, err
			}
			return t.direct.roundTrip(req)
		}
	}
	return t.base.RoundTrip(req)
}

// CheckEnd returns an error if the end of a response cannot be told from a broken connection, because it has neither a
// length nor chunks. NARs are exempt, since their hashes are checked.
func CheckEnd(resp *http.Response, name string) error {
	if resp.ContentLength >= 0 || len(resp.TransferEncoding) > 0 || narinfo.IsNAR(name) {
		return nil
	}
	return &Error{Text: "the server does not say where the object ends: an answer needs a Content-Length, or chunks"}
}

// retryAfter parses a Retry-After header, which is a number of seconds or a time.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(min(max(n, 0), 3600)) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return at.Sub(now)
	}
	return 0
}
