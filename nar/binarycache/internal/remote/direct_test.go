package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A wire is a server that answers as a test says, connection by connection.
type wire struct {
	url   string
	conns atomic.Int32
}

// newWire starts a server. serve gets each connection with its number, from 1, and reads requests from r.
func newWire(t *testing.T, serve func(n int, c net.Conn, r *bufio.Reader)) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{url: "http://" + l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(w.conns.Add(1))
			wg.Go(func() {
				defer c.Close()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return w
}

// always answers every request of a connection with the same text.
func always(text string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

func newTransport(t *testing.T) *Transport {
	t.Helper()
	tr, err := NewTransport()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, l := range tr.direct.idle {
			l.Close()
		}
		tr.base.CloseIdleConnections()
	})
	return tr
}

func get(ctx context.Context, tr *Transport, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

const (
	ok5     = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"
)

// A connection is used again only where the server leaves no doubt about where its answer ends.
func TestDirectReuse(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		again  bool
		want   string
	}{
		"length":   {ok5, true, "hello"},
		"chunks":   {chunked, true, "hello"},
		"empty":    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, ""},
		"missing":  {"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello", true, "hello"},
		"hints":    {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok5, true, "hello"},
		"close":    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", false, "hello"},
		"1.0":      {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "hello"},
		"too much": {ok5 + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", false, "hello"},
		"no body":  {"HTTP/1.1 204 No Content\r\n\r\n", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, tr := newWire(t, always(test.answer)), newTransport(t)
			for range 5 {
				if got, err := get(t.Context(), tr, w.url); got != test.want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, test.want)
				}
			}
			want := int32(5)
			if test.again {
				want = 1
			}
			if got := w.conns.Load(); got != want {
				t.Errorf("%d connections, want %d", got, want)
			}
		})
	}
}

// A body that is not read to its end takes its connection with it, also while it is being read.
func TestDirectClose(t *testing.T) {
	w, tr := newWire(t, always("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello")), newTransport(t)
	for _, read := range []int{0, 5, 6} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(resp.Body, make([]byte, read))
			done <- err
		}()
		if read <= 5 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if read > 5 {
			if err := <-done; err == nil {
				t.Error("a read ends well after Close")
			}
		}
		if _, err := resp.Body.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
			t.Errorf("read after Close: %v", err)
		}
	}
	if n := len(tr.direct.idle); n > 0 {
		t.Errorf("%d connections are kept", n)
	}
}

// A connection that the server has closed meanwhile is replaced at once; a server that never answers is asked once.
func TestDirectStale(t *testing.T) {
	once := func(_ int, c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			io.WriteString(c, ok5)
		}
	}
	w, tr := newWire(t, once), newTransport(t)
	for range 5 {
		if got, err := get(t.Context(), tr, w.url); got != "hello" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	w = newWire(t, func(_ int, _ net.Conn, r *bufio.Reader) { http.ReadRequest(r) })
	if got, err := get(t.Context(), tr, w.url); err == nil || w.conns.Load() != 1 {
		t.Errorf("got %q, %v, from %d connections", got, err, w.conns.Load())
	}
	// An answer that breaks off is not asked for again: that is for Retry.
	w = newWire(t, func(n int, c net.Conn, r *bufio.Reader) {
		http.ReadRequest(r)
		io.WriteString(c, ok5)
		http.ReadRequest(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
	})
	if got, err := get(t.Context(), tr, w.url); got != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := get(t.Context(), tr, w.url); !errors.Is(err, io.ErrUnexpectedEOF) || w.conns.Load() != 1 {
		t.Errorf("got %q, %v, from %d connections", got, err, w.conns.Load())
	}
}

// Connections that rest are closed, and there is a limit to them.
func TestDirectRest(t *testing.T) {
	w, tr := newWire(t, always(ok5)), newTransport(t)
	if _, err := get(t.Context(), tr, w.url); err != nil {
		t.Fatal(err)
	}
	tr.direct.idle[0].since = time.Now().Add(-2 * maxRest)
	if _, err := get(t.Context(), tr, w.url); err != nil {
		t.Fatal(err)
	}
	if got := w.conns.Load(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
	for range maxLinkIdle + 10 {
		c, other := net.Pipe()
		defer other.Close()
		tr.direct.put(&link{Conn: c})
	}
	if n := len(tr.direct.idle); n != maxLinkIdle {
		t.Errorf("%d connections are kept, want %d", n, maxLinkIdle)
	}
}

// What ends the context ends a request, wherever it is.
func TestDirectCancel(t *testing.T) {
	for name, text := range map[string]string{
		"no answer": "", "in the header": "HTTP/1.1 200 OK\r\nX: ", "in the body": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			w := newWire(t, func(_ int, c net.Conn, r *bufio.Reader) {
				http.ReadRequest(r)
				io.WriteString(c, text)
				cancel()
				r.ReadByte() // until the client goes
			})
			if _, err := get(ctx, newTransport(t), w.url); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Answers that nobody asked for, and those that do not end, are errors.
func TestDirectStrange(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"hints without end": {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100) + ok5, "103 was not asked for"},
		"other protocol":    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "101 was not asked for"},
		"long header":       {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeader), "headers exceeded"},
		"no HTTP":           {"SSH-2.0-OpenSSH\r\n\r\n", "malformed HTTP"},
		"two lengths":       {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "cannot be read"},
	} {
		w := newWire(t, always(test.text))
		got, err := get(t.Context(), newTransport(t), w.url)
		if err == nil || !strings.Contains(fmt.Sprint(Network(err)), test.want) {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, test.want)
		}
	}
}

// BenchmarkSmallObjects is direct against net/http's Transport.
func BenchmarkSmallObjects(b *testing.B) {
	for _, name := range []string{"direct", "net/http"} {
		b.Run(name, func(b *testing.B) {
			tr, err := NewTransport()
			if err != nil {
				b.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go always(ok5)(0, c, bufio.NewReader(c))
				}
			}()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+l.Addr().String(), nil)
					send := tr.direct.roundTrip
					if name != "direct" {
						send = tr.base.RoundTrip
					}
					resp, err := send(req)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		})
	}
}
