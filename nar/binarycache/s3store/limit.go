package s3store

import (
	"errors"
	"io"
	"net/http"
	"path"
	"sync/atomic"
	"time"

	"narseal/nar/binarycache/internal/remote"
)

// Limits for responses that the library reads as a whole, in bytes. A page has 1000 keys of at most 1024 bytes, each of
// which may be escaped, and the rest of an entry takes less than 1 KiB.
const (
	maxPage   = 1000*(3*1024+1024) + 1<<16
	maxAnswer = 64 << 10
	maxKeys   = 1 << 20 // from a service that gives credentials
)

// A limiter limits the size of responses, except those with an object, whose reader has its own limit. It also records
// how far the server's clock is ahead when a request is refused.
type limiter struct {
	*remote.Transport
	ahead *atomic.Int64 // seconds
}

func (l limiter) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusForbidden {
		if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			l.ahead.Store(int64(time.Until(at).Seconds()))
		}
	}
	switch {
	case resp.StatusCode >= 300, req.Method != http.MethodGet:
		if err := checkAnswer(resp); err != nil {
			return nil, err
		}
	case req.URL.Query().Get("list-type") != "":
		if err := checkPage(resp); err != nil {
			return nil, err
		}
	case req.URL.RawQuery != "": // not an object, such as ?location
		if err := checkAnswer(resp); err != nil {
			return nil, err
		}
	default:
		if err := remote.CheckEnd(resp, path.Base(req.URL.Path)); err != nil {
			resp.Body.Close()
			return nil, err
		}
	}
	return resp, nil
}

// A credentialLimiter limits the size of responses of services that give credentials.
type credentialLimiter struct{ http.RoundTripper }

func (l credentialLimiter) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = &limited{resp.Body, maxKeys}
	}
	return resp, err
}

var errLong = errors.New("the server's answer does not end")

// A limited body returns an error if it is too long.
type limited struct {
	io.ReadCloser
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errLong
	}
	n, err := l.ReadCloser.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
