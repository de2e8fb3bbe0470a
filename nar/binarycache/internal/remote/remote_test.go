package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"narseal/nar/binarycache"
)

// connected returns the two ends of a connection, of which the first is watched.
func connected(t *testing.T, silence time.Duration) (*conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); other.Close() })
	return &conn{Conn: c, silence: silence}, other
}

func TestSilence(t *testing.T) {
	const silence = 50 * time.Millisecond
	var quiet *silentError

	c, _ := connected(t, silence)
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &quiet) || !quiet.Timeout() {
		t.Errorf("nothing comes: %v", err)
	}

	c, other := connected(t, silence)
	go func(other net.Conn) {
		for {
			if _, err := other.Write([]byte{1}); err != nil {
				return
			}
			time.Sleep(silence / 5)
		}
	}(other)
	var err error
	for range 10_000 {
		if _, err = c.Read(make([]byte, 1)); err != nil {
			break
		}
	}
	if !errors.As(err, &quiet) {
		t.Errorf("a byte now and then: %v", err)
	}

	c, _ = connected(t, silence)
	if _, err := c.Write(make([]byte, 64<<20)); !errors.As(err, &quiet) {
		t.Errorf("nothing is taken: %v", err)
	}

	// Also from one that sends meanwhile.
	c, other = connected(t, silence)
	done := make(chan error, 1)
	go func(c *conn, other net.Conn) {
		for {
			if _, err := other.Write(make([]byte, 100)); err != nil {
				return
			}
			time.Sleep(silence / 5)
		}
	}(c, other)
	go io.Copy(io.Discard, c)
	go func(c *conn) {
		_, err := c.Write(make([]byte, 64<<20))
		done <- err
	}(c)
	select {
	case err := <-done:
		if !errors.As(err, &quiet) {
			t.Errorf("nothing is taken, while the server sends: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("nothing is taken, while the server sends: a write does not end")
	}

	// And whoever waits for the answer to a large write is not too early.
	c, other = connected(t, 10*silence)
	go func(other net.Conn) {
		b := make([]byte, 1<<20)
		for range 20 {
			time.Sleep(silence)
			if _, err := io.ReadFull(other, b); err != nil {
				return
			}
		}
		other.Write([]byte{1})
	}(other)
	go c.Write(make([]byte, 20<<20))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("the answer to a large write: %v", err)
	}

	// Whoever takes his time with what has come is not the server's fault.
	c, other = connected(t, silence)
	if _, err := other.Write(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		time.Sleep(2 * silence)
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Errorf("a slow reader: %v", err)
		}
	}
}

// The distance between requests grows when the server asks for it, and goes away again.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		took := func(n int) time.Duration {
			start := time.Now()
			for range n {
				if err := p.wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(start)
		}
		if d := took(100); d != 0 {
			t.Errorf("nothing holds it back: %s", d)
		}
		p.slow(3 * time.Second)
		if d := took(1); d != 3*time.Second {
			t.Errorf("asked to wait for 3 s: %s", d)
		}
		for range 20 {
			p.slow(0)
		}
		burst := p.gap
		for range 20 {
			time.Sleep(slowEvery)
			p.slow(0)
		}
		if burst > 4*minGap || p.gap != maxGap {
			t.Errorf("the distance is %s after a burst, %s in the end", burst, p.gap)
		}
		if d := took(10); d < 5*maxGap {
			t.Errorf("10 requests take %s", d)
		}
		for range 1000 {
			p.ok()
		}
		took(1)
		if d := took(100); d != 0 {
			t.Errorf("it has not recovered: %s", d)
		}
		p.slow(24 * time.Hour)
		if d := took(1); d > maxPause {
			t.Errorf("a server makes it wait for %s", d)
		}
		p.slow(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.wait(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "nonsense": 0, "-1": 0, "7": 7 * time.Second, "99999999": time.Hour, "99999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute,
	} {
		if got := retryAfter(s, now); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

// The number of tries is bounded, and smaller as long as no server has answered.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			answered bool
			err      error
			want     int
		}{
			"broken":                 {true, &Error{Err: io.ErrUnexpectedEOF, Again: true}, maxTries},
			"broken, from the start": {false, &Error{Err: io.ErrUnexpectedEOF, Again: true}, firstTries},
			"not HTTP":               {true, Network(errors.New("malformed HTTP response \"x\"")), badTries},
			"503":                    {true, &Error{Status: 503}, maxTries},
			"429":                    {true, &Error{Status: 429}, maxTries},
			"408":                    {true, &Error{Status: 408}, maxTries},
			"404":                    {true, &Error{Status: 404}, 1},
			"501":                    {true, &Error{Status: 501}, 1},
			"other":                  {true, errors.New("other"), 1},
		} {
			var tr Transport
			tr.answered.Store(c.answered)
			n := 0
			if err := tr.Retry(t.Context(), func() error { n++; return c.err }); err != c.err || n != c.want {
				t.Errorf("%s: %d tries, %v, want %d", name, n, err, c.want)
			}
		}
	})
}

// What makes no sense is asked for once more, and breaks in between begin the count again.
func TestRetryMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, broken := Network(errors.New(`malformed chunked encoding "secret"`)), Network(io.ErrUnexpectedEOF)
		var tr Transport
		tr.answered.Store(true)
		errs := []error{bad, broken, bad, bad, bad}
		n := 0
		if err := tr.Retry(t.Context(), func() error { n++; return errs[n-1] }); err != bad || n != 4 {
			t.Errorf("%d tries, %v, want 4", n, err)
		}
	})
}

// When nothing goes well any more, not every request is tried ten times, until one goes well again.
func TestRetryMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr Transport
		tr.answered.Store(true)
		tries := func(err error) (n int) {
			tr.Retry(t.Context(), func() error { n++; return err })
			return n
		}
		for i := range 3 * manyFailed {
			want := maxTries
			if i >= manyFailed {
				want = firstTries
			}
			if n := tries(&Error{Status: 500}); n != want {
				t.Errorf("request %d: %d tries, want %d", i, n, want)
			}
		}
		if n := tries(&Error{Status: 404}); n != 1 {
			t.Errorf("missing: %d tries", n)
		}
		if n := tries(&Error{Status: 500}); n != maxTries {
			t.Errorf("after an answer: %d tries", n)
		}
		for range tooMany {
			tries(&Error{Status: 503})
		}
		if err := tr.Retry(t.Context(), func() error { t.Error("a request is sent"); return nil }); err == nil ||
			!strings.Contains(err.Error(), "the last 32 requests have failed") {
			t.Error(err)
		}
	})
}

// What cannot be reached says what to look at.
func TestNetworkHints(t *testing.T) {
	dial := func(err error) error {
		return &url.Error{Op: "Get", URL: "http://u:secret@h", Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}}
	}
	for name, c := range map[string]struct {
		err   error
		hint  string
		again bool
	}{
		"refused":     {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "does the server run", true},
		"no host":     {dial(&net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}), "host's name", false},
		"no route":    {dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "on the network", true},
		"no network":  {dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "on the network", true},
		"no answer":   {dial(os.ErrDeadlineExceeded), "firewall", true},
		"reset":       {&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "", true},
		"proxy":       {&net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, "names a proxy", true},
		"breaking":    {io.ErrUnexpectedEOF, "", true},
		"no TLS here": {errors.New("http: server gave HTTP response to HTTPS client"), "http://", false},
	} {
		var e *Error
		if err := Network(c.err); !errors.As(err, &e) || e.Again != c.again || !strings.Contains(e.Hint(), c.hint) || c.hint == "" && e.Hint() != "" {
			t.Errorf("%s: got %v, again %v, hint %q", name, err, e.Again, e.Hint())
		} else if strings.Contains(e.Error(), "secret") {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// A reader that was handed out before reads nothing more, however late package net/http comes.
func TestContent(t *testing.T) {
	body := strings.NewReader("0123456789")
	c, err := measure(t.Context(), body, 10)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Reader()
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(first, make([]byte, 3))
	second, err := c.Reader()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := first.Read(make([]byte, 5)); n != 0 || err == nil {
		t.Errorf("the first reader still reads: %d, %v", n, err)
	}
	if b, err := io.ReadAll(second); err != nil || string(b) != "0123456789" {
		t.Errorf("got %q, %v", b, err)
	}
	for name, body := range map[string]io.ReadSeeker{"random": strings.NewReader("0123456789"), "not": struct{ io.ReadSeeker }{bytes.NewReader([]byte("0123456789"))}} {
		if c, err = measure(t.Context(), body, 10); err != nil {
			t.Fatal(err)
		}
		var all []string
		err := c.Parts(t.Context(), 4, func(number int, part *Content) error {
			for range 2 {
				r, err := part.Reader()
				if err != nil {
					return err
				}
				b, err := io.ReadAll(r)
				if err != nil || int64(len(b)) != part.Size || number != len(all)/2+1 {
					t.Errorf("%s: part %d: %q, %v", name, number, b, err)
				}
				all = append(all, string(b))
			}
			return nil
		})
		if got := strings.Join(all, " "); err != nil || got != "0123 0123 4567 4567 89 89" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestClip(t *testing.T) {
	if got := Clip("a\x1b[31m\r\nb\u202e" + strings.Repeat("x", 10_000)); len(got) > 310 || strings.ContainsAny(got, "\x1b\r\n\u202e") {
		t.Errorf("got %q", got)
	}
}

// A dripping backend breaks each connection after one byte.
type dripping struct {
	Backend
	size, gets int64
}

func (d *dripping) URL(name string) string { return name }

func (d *dripping) Get(_ context.Context, name string, from int64, _ *Answer) (*Answer, error) {
	d.gets++
	body := io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errors.New("reset")))
	return &Answer{Object: binarycache.Object{Name: name, Size: d.size}, From: from, Body: io.NopCloser(body)}, nil
}

// A server that never gets on is given up.
func TestDripping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dripping{size: 1 << 30}
		s := NewStore(d, &Transport{})
		r, _, err := s.Open(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		n, err := io.Copy(io.Discard, r)
		if err == nil || !strings.Contains(err.Error(), "broke 10 times") || n > 2*maxTries || d.gets > 2*maxTries {
			t.Errorf("%d bytes by %d requests, %v", n, d.gets, err)
		}
	})
}
