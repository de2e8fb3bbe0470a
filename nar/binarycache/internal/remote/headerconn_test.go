package remote

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// However a header comes, its lines are counted up to the empty one, those of status 1xx apart.
func TestHeaderScan(t *testing.T) {
	lines := func(n int) string { return strings.Repeat("a:\r\n", n) }
	for header, want := range map[string]int{ // how many bytes it has; -1: it is refused; 0: it does not end
		"HTTP/1.1 200 OK\r\n\r\n":                                                         19,
		"HTTP/1.1 200 OK\n\n":                                                             17,
		"HTTP/1.1 200 OK\r\n" + lines(254) + "\r\n":                                       17 + 254*4 + 2,
		"HTTP/1.1 200 OK\r\n" + lines(256) + "\r\n":                                       -1,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" + lines(200) + "\r\n":          25 + 17 + 200*4 + 2,
		"HTTP/1.0 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" + lines(256) + "\r\n":          -1,
		"HTTP/1.1 103 x\r\n" + lines(200) + "\r\nHTTP/1.1 200 OK\r\n" + lines(200) + "\n": 16 + 800 + 2 + 17 + 800 + 1,
		"HTTP/1.1 200 OK\r\n\rx: y\r\n":                                                   0,
		lines(300):                                                                        -1,
		"":                                                                                0,
		"\n":                                                                              -1,
		"HTTP/1.1  100 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n":                                  -1,
		"HTTP/2.0 200 OK\r\n\r\n":                                                         -1,
		"HTTP/1.0 204\r\n\r\n":                                                            16,
	} {
		for _, step := range []int{1, 2, 3, 7, 1 << 20} {
			var s headerScan
			got, all := 0, header+strings.Repeat("\nbody\r\n", 300*min(1, max(0, want)))
			for at := 0; at < len(all) && got == 0; at += step {
				if ends, err := s.scan([]byte(all[at:min(len(all), at+step)])); err != nil {
					got = -1
				} else if ends {
					got = at + step
				}
			}
			if got < want || got > max(want+step-1, 0) && step < 1<<20 || want <= 0 && got != want {
				t.Errorf("%.60q in steps of %d: got %d, want %d", header, step, got, want)
			}
		}
	}
}

// A header after which net/http reads another one does not end the scan, however its status line is written.
func TestStatusLines(t *testing.T) {
	read := 0
	for _, version := range []string{"HTTP/1.1", "HTTP/1.0", "HTTP/1.9", "HTTP/2.0", "HTTP/0.9", "HTTP/3.1", "http/1.1", "HTTP/01.1", " HTTP/1.1"} {
		for _, space := range []string{" ", "  ", "       ", "\t", " \t"} {
			for _, status := range []string{"100", "103", "199", "+10", "1e2", "200", "0100", "010", "1000", "404"} {
				for _, rest := range []string{"", " ", " x", "\tx", "\r"} {
					header := version + space + status + rest + "\r\n\r\n"
					resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(header)), nil)
					if err != nil {
						continue
					}
					resp.Body.Close()
					read++
					var s headerScan
					ends, err := s.scan([]byte(header))
					if ends && resp.StatusCode/100 == 1 {
						t.Errorf("%q: the scan ends", header)
					}
					if usual := strings.HasPrefix(version+space, "HTTP/1.1 ") && space == " "; usual && len(status) == 3 && status[0] != '+' && status[0] != '0' && err != nil {
						t.Errorf("%q: %v", header, err)
					}
				}
			}
		}
	}
	if read < 100 {
		t.Errorf("net/http reads %d of them", read)
	}
}

// Responses to requests of any method have a bounded header, also on a connection that is used again, over TLS, and through a
// proxy that sees the requests.
func TestHeaderLinesOfAnyMethod(t *testing.T) {
	answer := func(r *http.Request) string {
		n := 200
		if strings.Contains(r.URL.Path, "many") {
			n = 15_000
		}
		body := strings.Repeat("\n", 2000)
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n", len(body), strings.Repeat("a:\n", n))
		switch {
		case strings.Contains(r.URL.Path, "continue"):
			head = "HTTP/1.1 103 Early Hints\r\n\r\n" + head
		case strings.Contains(r.URL.Path, "version"):
			head = "HTTP/2.0 103 Early Hints\r\n\r\n" + head
		}
		if r.Method == http.MethodHead {
			return head
		}
		return head + body
	}
	serve := func(l net.Listener) string {
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					b := bufio.NewReader(c)
					for {
						r, err := http.ReadRequest(b)
						if err != nil {
							return
						}
						io.Copy(io.Discard, r.Body)
						io.WriteString(c, answer(r))
					}
				}()
			}
		}()
		return l.Addr().String()
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	plain, secure := serve(listen()), serve(tls.NewListener(listen(), &tls.Config{Certificates: certified.TLS.Certificates}))
	for name, base := range map[string]string{"plain": "http://" + plain, "TLS": "https://" + secure, "proxy": "http://cache.example.test"} {
		tr, err := NewTransport()
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(certified.Certificate())
		tr.direct.tls.RootCAs = pool
		tr.base.Proxy = nil
		if name == "proxy" {
			tr.base.Proxy = func(r *http.Request) (*url.URL, error) { return r.URL.Parse("http://" + plain) }
		}
		for range 2 {
			for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPost} {
				for path, ok := range map[string]bool{"/few": true, "/continue": true, "/many": false, "/many-continue": false, "/many-version": false} {
					req, err := http.NewRequestWithContext(t.Context(), method, base+path, bytes.NewReader(make([]byte, 100_000)))
					if err != nil {
						t.Fatal(err)
					}
					resp, err := tr.base.RoundTrip(req)
					n := int64(0)
					if err == nil {
						n, err = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
					if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "exceeded 256 lines") && !strings.Contains(err.Error(), "status line") || ok && method != http.MethodHead && n != 2000 {
						t.Errorf("%s, %s %s: %d bytes, %v", name, method, path, n, err)
					}
				}
			}
		}
	}
}
