package cachetest

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// A Faulty is a proxy before a server that spoils a part of the requests: it answers 429 or 503, breaks the connection
// before the request gets to the server, or after that, or in the middle of the answer.
type Faulty struct {
	Host string // to connect to in place of the server

	target string
	mu     sync.Mutex
	rand   *rand.Rand
	rate   float64
	count  map[string]int
}

// NewFaulty starts a proxy that spoils this part of the requests to a host.
func NewFaulty(t testing.TB, target string, rate float64, seed uint64) *Faulty {
	f := &Faulty{target: target, rate: rate, rand: rand.New(rand.NewPCG(seed, 1)), count: map[string]int{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.Host = server.Listener.Addr().String()
	return f
}

// Faults are how many requests were spoiled, by how.
func (f *Faulty) Faults() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]int{}
	for k, n := range f.count {
		all[k] = n
	}
	return all
}

// draw says what becomes of a request.
func (f *Faulty) draw() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind := "ok"
	if f.rand.Float64() < f.rate {
		kind = []string{"429", "503", "reset", "lost answer", "half an answer"}[f.rand.IntN(5)]
	}
	f.count[kind]++
	return kind
}

func (f *Faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := f.draw()
	switch kind {
	case "429":
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case "503":
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case "reset":
		reset(w)
		return
	}
	out := r.Clone(r.Context()) // with its Host, which S3's signature covers
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", f.target, ""
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		reset(w)
		return
	}
	defer resp.Body.Close()
	if kind == "lost answer" {
		io.Copy(io.Discard, resp.Body)
		reset(w)
		return
	}
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	if kind == "half an answer" && resp.ContentLength > 1 {
		io.CopyN(w, resp.Body, resp.ContentLength/2)
		http.NewResponseController(w).Flush()
		reset(w)
		return
	}
	io.Copy(w, resp.Body)
}

// reset breaks a connection.
func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}
