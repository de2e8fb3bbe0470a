package remote

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"narseal/nar/binarycache"
)

// drip writes to w, a little at a time, until it is closed.
func drip(w io.WriteCloser, text string, every time.Duration) {
	for {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
		time.Sleep(every)
	}
}

// What is read whole has little time, although each byte is a sign of life; and what is only drained has less.
func TestSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r, w := io.Pipe()
		go drip(w, "x", 25*time.Second)
		var slow *silentError
		err := Soon(r, func() error {
			_, err := io.ReadAll(r)
			return err
		})
		if !errors.As(err, &slow) || time.Since(start) != wholeTime {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		start = time.Now()
		r, w = io.Pipe()
		go drip(w, "x", time.Second/2)
		if Drain(r); time.Since(start) != drainTime {
			t.Errorf("drained for %s", time.Since(start))
		}
		r, w = io.Pipe()
		go func() { io.WriteString(w, "all"); w.Close() }()
		if err := Soon(r, func() error { _, err := io.ReadAll(r); return err }); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
	})
}

// A header that drips is given up.
func TestDrippingHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, server := net.Pipe()
		go func() {
			_, _ = http.ReadRequest(bufio.NewReader(server))
			io.WriteString(server, "HTTP/1.1 200 OK\r\n")
			drip(server, "a: b\r\n", 25*time.Second)
		}()
		l := &link{Conn: c, in: headerLimit{r: c}}
		l.r, l.w = bufio.NewReader(&l.in), bufio.NewWriter(c)
		req, err := http.NewRequest(http.MethodGet, "http://host/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, silent, err := new(direct).exchange(req, l)
		var slow *silentError
		if !errors.As(err, &slow) || silent || time.Since(start) != wholeTime {
			t.Errorf("%v after %s, silent: %v", err, time.Since(start), silent)
		}
		server.Close()
		time.Sleep(time.Hour) // until drip ends
	})
}

// A slow backend sends objects at a number of bytes per second.
type slow struct {
	Backend
	size, speed int64
}

func (s *slow) URL(name string) string { return name }

func (s *slow) Get(_ context.Context, name string, from int64, _ *Answer) (*Answer, error) {
	r, w := io.Pipe()
	go func() {
		for left := s.size; left > 0; left -= s.speed {
			if _, err := io.WriteString(w, strings.Repeat("x", int(min(left, s.speed)))); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
		w.Close()
	}()
	return &Answer{Object: binarycache.Object{Name: name, Size: s.size}, From: from, Body: r}, nil
}

// A large object that comes slowly takes its time, one that comes hardly at all is given up. The time in which nobody reads
// does not count.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for speed, ok := range map[int64]bool{2000: true, 500: false} {
			s := NewStore(&slow{size: 1 << 20, speed: speed}, &Transport{})
			r, _, err := s.Open(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			start := time.Now()
			n, err := io.Copy(io.Discard, r)
			if r.Close(); (err == nil) != ok || ok && n != 1<<20 || !ok && (time.Since(start) > patience+time.Minute || !strings.Contains(err.Error(), "bytes from the server in")) {
				t.Errorf("%d bytes/s: %d bytes, %v, after %s", speed, n, err, time.Since(start))
			}
		}
		time.Sleep(time.Hour)
	})
}

// A changing backend breaks off the first answer, and sends the object from its start on in the others, slowly.
type changing struct {
	slow
	breakAt int64
	gets    int
}

func (c *changing) Get(ctx context.Context, name string, from int64, before *Answer) (*Answer, error) {
	if c.gets++; c.gets == 1 {
		body := io.MultiReader(strings.NewReader(strings.Repeat("x", int(c.breakAt))), iotest.ErrReader(errors.New("reset")))
		return &Answer{Object: binarycache.Object{Name: name, Size: c.size}, Body: io.NopCloser(body)}, nil
	}
	a, err := c.slow.Get(ctx, name, 0, before)
	a.From = 0
	return a, err
}

// What comes again, because a server knows no ranges, counts as well, and so does a body that becomes slow.
func TestSlowAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for speed, ok := range map[int64]bool{2000: true, 5: false} {
			for _, breakAt := range []int64{1 << 19, 1<<23 - 1<<15} {
				b := &changing{slow: slow{size: 1 << 23, speed: speed}, breakAt: breakAt}
				r, _, err := NewStore(b, &Transport{}).Open(t.Context(), "x")
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				n, err := io.Copy(io.Discard, r)
				if r.Close(); (err == nil) != ok || ok && n != b.size || !ok && (time.Since(start) > 2*patience+time.Minute || n != breakAt) {
					t.Errorf("%d bytes/s after %d: %d bytes, %v, after %s", speed, breakAt, n, err, time.Since(start))
				}
				time.Sleep(2 * time.Hour)
			}
		}
		r, w := io.Pipe()
		s := NewStore(nil, &Transport{})
		b := &body{ctx: t.Context(), store: NewStore(&slow{}, s.transport), first: &Answer{Object: binarycache.Object{Size: 1 << 30}}, now: r}
		go func() {
			w.Write(make([]byte, 1<<29)) // at once
			for {
				if _, err := io.WriteString(w, "x"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		start := time.Now()
		if n, err := io.Copy(io.Discard, b); err == nil || time.Since(start) > 2*patience+time.Minute {
			t.Errorf("%d bytes, %v, after %s", n, err, time.Since(start))
		}
		b.Close()
		time.Sleep(time.Hour)
	})
}
