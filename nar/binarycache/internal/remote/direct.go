package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
	"unicode/utf8"
)

// A direct sends GET requests without a proxy, on the goroutine that waits for the response. [http.Transport] passes
// each request to two goroutines of its connection, which takes a third of the time with small objects. Requests and
// responses are still written and parsed by net/http, and all other requests are left to it.
type direct struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	tls  *tls.Config

	mu   sync.Mutex
	idle []*link // the most recently used last
}

// A link is a connection to a server.
type link struct {
	net.Conn
	raw          *conn // below TLS; nil if it is not a *conn
	scheme, host string
	in           headerLimit
	r            *bufio.Reader
	w            *bufio.Writer
	since        time.Time // when its last response ended; zero before the first
}

// quiet reports whether no byte has arrived since the last response. It does not block.
func (l *link) quiet() bool {
	if l.raw == nil {
		return true
	}
	if pending(l.raw.raw) {
		return false
	}
	// TLS may have read more than one record at a time.
	l.raw.dry.Store(true)
	defer l.raw.dry.Store(false)
	_, err := l.r.Peek(1)
	return errors.Is(err, errDry)
}

const (
	// maxRest is the maximum time that an idle link is kept. Servers close idle connections after 5 s or more, some
	// with an unrequested response, which would be taken for the response to the next request. In a busy run, links are
	// reused sooner.
	maxRest = 4 * time.Second

	maxLinkIdle      = maxIdle
	maxInformational = 5 // responses with status 1xx before the final one
	handshakeTimeout = 30 * time.Second
	readBuffer       = 64 << 10
	writeBuffer      = 4 << 10
)

// takes reports whether a request can be sent directly.
func (d *direct) takes(req *http.Request) bool {
	return req.Method == http.MethodGet && (req.Body == nil || req.Body == http.NoBody) &&
		(req.URL.Scheme == "http" || req.URL.Scheme == "https") && isASCII(req.URL.Host) // net/http encodes other names for DNS
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// roundTrip sends a request. Like net/http, it immediately tries again if the server has closed an idle link.
func (d *direct) roundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	l := d.get(req.URL)
	for {
		used := l != nil
		if !used {
			var err error
			if l, err = d.connect(ctx, req.URL); err != nil {
				return nil, err
			}
		}
		resp, silent, err := d.exchange(req, l)
		if err == nil {
			return resp, nil
		}
		l.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var timeout net.Error
		if !used || !silent || errors.As(err, &timeout) && timeout.Timeout() {
			return nil, err
		}
		l = nil
	}
}

// get returns an idle link to a server, or nil. It closes links that were idle for too long, and links on which
// unrequested bytes arrived, which would be taken for the next response.
func (d *direct) get(u *url.URL) *link {
	for {
		l := d.take(u)
		if l == nil || l.quiet() {
			return l
		}
		go l.Close()
	}
}

func (d *direct) take(u *url.URL) *link {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prune()
	for i := len(d.idle) - 1; i >= 0; i-- {
		if l := d.idle[i]; l.scheme == u.Scheme && l.host == u.Host {
			d.idle = append(d.idle[:i], d.idle[i+1:]...)
			return l
		}
	}
	return nil
}

func (d *direct) put(l *link) {
	l.since = time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.idle = append(d.idle, l)
	d.prune()
}

// prune closes links that were idle for too long, and the oldest if there are too many. The caller holds mu.
func (d *direct) prune() {
	n := max(0, len(d.idle)-maxLinkIdle)
	for n < len(d.idle) && time.Since(d.idle[n].since) > maxRest {
		n++
	}
	for _, l := range d.idle[:n] {
		go l.Close() // over TLS, closing sends an alert, which may block
	}
	if n > 0 {
		d.idle = append(d.idle[:0], d.idle[n:]...)
	}
}

// connect opens a link to a server.
func (d *direct) connect(ctx context.Context, u *url.URL) (*link, error) {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	c, err := d.dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	raw, _ := c.(*conn)
	if raw != nil && raw.raw == nil {
		raw = nil
	}
	if u.Scheme == "https" {
		if c, err = handshake(ctx, c, d.tls, u.Hostname()); err != nil {
			return nil, err
		}
	}
	l := &link{Conn: c, raw: raw, scheme: u.Scheme, host: u.Host, in: headerLimit{r: c}}
	l.r, l.w = bufio.NewReaderSize(&l.in, readBuffer), bufio.NewWriterSize(c, writeBuffer)
	return l, nil
}

// exchange sends a request and reads the header of the response. silent says that the server has not sent a byte. The
// caller closes l after an error.
func (d *direct) exchange(req *http.Request, l *link) (resp *http.Response, silent bool, err error) {
	stop := context.AfterFunc(req.Context(), func() { l.Close() })
	defer func() {
		if err != nil {
			stop()
		}
	}()
	l.in.left = maxHeader
	if err = req.Write(l.w); err == nil {
		err = l.w.Flush()
	}
	if err == nil {
		_, err = l.r.Peek(1)
	}
	if err != nil {
		return nil, true, err
	}
	err = Soon(l, func() error {
		resp, err = readHeader(req, l.r)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	l.in.allow()
	a := &answer{ReadCloser: resp.Body, direct: d, link: l, ctx: req.Context(), stop: stop, reuse: !resp.Close}
	if resp.Body == http.NoBody {
		// If a server sends a body with a status that allows none, the next response would be misread.
		a.reuse = a.reuse && resp.ContentLength == 0 && resp.StatusCode != http.StatusNotModified && resp.StatusCode != http.StatusNoContent
		a.end(io.EOF)
	}
	resp.Body = a
	return resp, false, nil
}

// readHeader reads the header of a response, and skips responses with status 1xx before it.
func readHeader(req *http.Request, r *bufio.Reader) (resp *http.Response, err error) {
	for n := 0; ; n++ {
		if err = checkHeader(r); err == nil {
			resp, err = http.ReadResponse(r, req)
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode/100 == 1 && n == maxInformational {
			return nil, &badAnswer{fmt.Sprintf("an answer that is not HTTP: %d was not asked for", resp.StatusCode)}
		}
		if resp.StatusCode/100 != 1 {
			return resp, nil
		}
	}
}

// An answer is the body of a response. At its end, the link is returned for reuse.
type answer struct {
	io.ReadCloser
	direct *direct
	link   *link
	ctx    context.Context
	stop   func() bool // detaches the link from the context
	reuse  bool

	mu  sync.Mutex
	err error // after the end
}

func (a *answer) Read(p []byte) (int, error) {
	if err := a.ended(); err != nil {
		return 0, err
	}
	n, err := a.ReadCloser.Read(p)
	if err != nil {
		err = a.end(err)
	}
	return n, err
}

func (a *answer) ended() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// end records why the body ended. The link can be reused only after the last byte of the body.
func (a *answer) end(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	live := a.stop() // if false, the context closes the link
	if err != io.EOF && a.ctx.Err() != nil {
		err = a.ctx.Err()
	}
	a.err = err
	if err == io.EOF && live && a.reuse && a.link.r.Buffered() == 0 {
		a.direct.put(a.link)
	} else {
		a.link.Close()
	}
	return err
}

func (a *answer) Close() error {
	a.end(http.ErrBodyReadAfterClose)
	return nil
}
