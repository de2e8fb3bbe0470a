package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"regexp"
	"slices"
	"sync"
)

// A headerConn bounds the lines of the headers that net/http's Transport reads, as checkHeader does for direct. It looks at
// the bytes as they come, since Transport has read a header before anybody else sees it. What goes through a TLS connection
// that a proxy passes on is encrypted here, and not bounded.
type headerConn struct {
	net.Conn

	mu     sync.Mutex
	passed bool // the header of the response has been read
	header headerScan
}

// methods begin the requests that are sent.
var methods = [][]byte{[]byte("GET "), []byte("HEAD "), []byte("PUT "), []byte("POST "), []byte("DELETE "), []byte("CONNECT ")}

// Write expects another header if a request begins.
func (c *headerConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.passed && slices.ContainsFunc(methods, func(m []byte) bool { return bytes.HasPrefix(p, m) }) {
		c.passed, c.header = false, headerScan{}
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *headerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.passed {
		return n, err
	}
	passed, bad := c.header.scan(p[:n])
	if c.passed = passed; bad != nil {
		return 0, bad
	}
	return n, err
}

var (
	errHeaderLines = fmt.Errorf("server response headers exceeded %d lines", maxHeaderLines)
	errStatusLine  = &badAnswer{"an answer that is not HTTP: the status line does not begin with HTTP/1.1 or HTTP/1.0, a space and a status"}
)

// A headerScan finds the end of a header in pieces of any size.
type headerScan struct {
	lines int
	size  int    // of the line so far, in bytes
	cr    bool   // the line begins with a carriage return
	first []byte // of the first line, up to statusSize bytes
}

// statusLine matches the start of a status line, in statusSize bytes. Transport reads others, too, such as one with two
// spaces. They are refused: only if both understand the status do they agree on whether another header follows.
var statusLine = regexp.MustCompile(`^HTTP/1\.[01] ([1-9])[0-9]{2}$`)

const statusSize = len("HTTP/1.1 200")

// scan reports whether the header ends in b. A header of status 1xx does not count.
func (s *headerScan) scan(b []byte) (ends bool, err error) {
	for s.lines <= maxHeaderLines {
		at := bytes.IndexByte(b, '\n')
		line := b
		if at >= 0 {
			line = b[:at]
		}
		if s.lines == 0 && len(s.first) < statusSize {
			s.first = append(s.first, line[:min(len(line), statusSize-len(s.first))]...)
		}
		if s.size == 0 && len(line) > 0 {
			s.cr = line[0] == '\r'
		}
		s.size += len(line)
		if at < 0 {
			return false, nil
		}
		blank := s.size == 0 || s.size == 1 && s.cr
		b = b[at+1:]
		s.lines++
		s.size, s.cr = 0, false
		if !blank {
			continue
		}
		status := statusLine.FindSubmatch(s.first)
		if status == nil {
			return false, errStatusLine
		}
		if status[1][0] != '1' {
			return true, nil
		}
		*s = headerScan{}
	}
	return false, errHeaderLines
}

// A dialer connects to a server.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// bounded returns a dialer whose connections bound headers.
func (d dialer) bounded() dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &headerConn{Conn: c}, nil
	}
}

// overTLS returns a dialer that connects over TLS.
func (d dialer) overTLS(config *tls.Config) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		c, err := d(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return handshake(ctx, c, config, host)
	}
}

// handshake returns a TLS connection over c, or closes c.
func handshake(ctx context.Context, c net.Conn, config *tls.Config, host string) (net.Conn, error) {
	config = config.Clone()
	config.ServerName = host
	secure := tls.Client(c, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}
