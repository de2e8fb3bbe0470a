package remote

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What a server sends after its answer is never taken for the next one, whenever it comes before the next request.
func TestDirectSurplus(t *testing.T) {
	const evil = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nevil"
	trusted := httptest.NewTLSServer(nil)
	defer trusted.Close()
	certificate := &tls.Config{Certificates: trusted.TLS.Certificates}
	roots := x509.NewCertPool()
	roots.AddCert(trusted.Certificate())

	for _, secure := range []bool{false, true} {
		for name, send := range map[string]func(tcp, c net.Conn, sent chan<- bool){
			"in one segment": func(tcp, c net.Conn, sent chan<- bool) {
				if b, ok := tcp.(*buffered); ok {
					b.hold = true
				}
				io.WriteString(c, ok5)
				io.WriteString(c, evil) // a record of its own with TLS
				if b, ok := tcp.(*buffered); ok {
					b.hold = false
					b.Write(nil)
				}
				sent <- true
			},
			"later": func(_, c net.Conn, sent chan<- bool) {
				io.WriteString(c, ok5)
				time.Sleep(20 * time.Millisecond)
				io.WriteString(c, evil)
				sent <- true
			},
			"the end, later": func(_, c net.Conn, sent chan<- bool) {
				io.WriteString(c, ok5)
				time.Sleep(20 * time.Millisecond)
				c.Close()
				sent <- true
			},
		} {
			kind := "http"
			if secure {
				kind = "https"
			}
			t.Run(kind+"/"+name, func(t *testing.T) {
				sent := make(chan bool, 10)
				w := newWire(t, func(_ int, c net.Conn, r *bufio.Reader) {
					tcp := c
					if secure {
						tcp = &buffered{Conn: c}
						c = tls.Server(tcp, certificate)
						r = bufio.NewReader(c)
					}
					if _, err := http.ReadRequest(r); err == nil {
						send(tcp, c, sent)
						http.ReadRequest(r)
					}
				})
				tr := newTransport(t)
				tr.direct.tls = &tls.Config{RootCAs: roots}
				url := strings.Replace(w.url, "http", kind, 1)
				for range 4 {
					got, err := get(t.Context(), tr, url)
					if got != "hello" || err != nil {
						t.Fatalf("got %q, %v", got, err)
					}
					<-sent
					time.Sleep(5 * time.Millisecond) // for the loopback
				}
				if n := w.conns.Load(); n != 4 {
					t.Errorf("%d connections, want 4", n)
				}
			})
		}
		// And a quiet connection is used again.
		w := newWire(t, func(_ int, c net.Conn, r *bufio.Reader) {
			if secure {
				c = tls.Server(c, certificate)
				r = bufio.NewReader(c)
			}
			always(ok5)(0, c, r)
		})
		tr := newTransport(t)
		tr.direct.tls = &tls.Config{RootCAs: roots}
		url := w.url
		if secure {
			url = strings.Replace(url, "http", "https", 1)
		}
		for range 4 {
			if got, err := get(t.Context(), tr, url); got != "hello" || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		if n := w.conns.Load(); n != 1 {
			t.Errorf("TLS %v: %d connections, want 1", secure, n)
		}
	}
}

// buffered holds writes back, to send them as one.
type buffered struct {
	net.Conn
	hold bool
	b    bytes.Buffer
}

func (b *buffered) Write(p []byte) (int, error) {
	b.b.Write(p)
	if !b.hold {
		if _, err := b.b.WriteTo(b.Conn); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
