package httpstore_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// A body that does not end, or is longer or shorter than the header says, is an error of its path, after a bounded number
// of bytes; or nothing but the stated part is read. The other paths are verified.
func TestBodies(t *testing.T) {
	bad, good := strings.Repeat("0", 32), strings.Repeat("1", 32)
	objects, err := cachetest.Objects(cachetest.Path{Base: bad + "-a", NAR: nartest.Tree(nartest.File("bad"))},
		cachetest.Path{Base: good + "-b", NAR: nartest.Tree(nartest.File("good"))})
	if err != nil {
		t.Fatal(err)
	}
	_, nar, _ := strings.Cut(objects[bad+".narinfo"], "URL: ")
	nar, _, _ = strings.Cut(nar, "\n")
	const most = 64 << 20 // what a server gets rid of
	var sent atomic.Int64
	raw := func(w http.ResponseWriter, header, content string, n int) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, header)
		for i := 0; i < n && sent.Load() < most; i++ {
			m, err := io.WriteString(c, content)
			if sent.Add(int64(m)); err != nil {
				return
			}
		}
	}
	chunk := fmt.Sprintf("10000\r\n%s\r\n", strings.Repeat("x", 1<<16))
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, content string)
		fails  bool
	}{
		"endless": {func(w http.ResponseWriter, _ string) {
			raw(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, most)
		}, true},
		"endless, no end": {func(w http.ResponseWriter, _ string) {
			raw(w, "HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 1<<16), most)
		}, true},
		"endless, a size of 1 EB": {func(w http.ResponseWriter, _ string) {
			raw(w, "HTTP/1.1 200 OK\r\nContent-Length: 1152921504606846976\r\n\r\n", strings.Repeat("x", 1<<16), most)
		}, true},
		"longer": {func(w http.ResponseWriter, content string) {
			raw(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(content)), content+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 1)
		}, false},
		"shorter": {func(w http.ResponseWriter, content string) {
			raw(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: \"a\"\r\n\r\n", len(content)/2), content, 1)
		}, true},
	} {
		for _, object := range []string{bad + ".narinfo", nar} {
			t.Run(name+", "+object, func(t *testing.T) {
				sent.Store(0)
				s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
					at := strings.TrimPrefix(r.URL.Path, "/")
					content, ok := objects[at]
					switch {
					case !ok:
						http.NotFound(w, r)
					case at == object:
						c.answer(w, content)
					default:
						io.WriteString(w, content)
					}
				}).URL)
				o := binarycache.VerifyOptions{}
				o.Hashes = func(yield func(string, error) bool) { _ = yield(bad, nil) && yield(good, nil) }
				ends := map[string]error{}
				o.Done = func(r binarycache.Result) { ends[r.Info[:32]] = r.Err }
				if _, err := binarycache.Verify(t.Context(), s, o); err != nil {
					t.Fatal(err)
				}
				if err := ends[bad]; (err != nil) != c.fails || errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("got %v, want an error: %v", err, c.fails)
				}
				if err, ok := ends[good]; !ok || err != nil {
					t.Errorf("the other path: %v, %v", ok, err)
				}
				if sent.Load() >= most {
					t.Errorf("took %d bytes", sent.Load())
				}
			})
		}
	}
}

// Answers that make no sense are asked for twice: a server that always sends them does not hold up the run.
func TestMalformed(t *testing.T) {
	for name, answer := range map[string]string{
		"header":   "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"protocol": "SSH-2.0-OpenSSH\r\n\r\n",
		"chunks":   "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
	} {
		var n atomic.Int64
		s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/good" {
				return // a server that was never there is given up sooner
			}
			n.Add(1)
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, answer)
			c.Close()
		}).URL)
		if _, err := s.Stat(t.Context(), "good"); err != nil {
			t.Fatal(err)
		}
		r, _, err := s.Open(t.Context(), "x")
		if err == nil {
			_, err = io.ReadAll(r)
			r.Close()
		}
		if err == nil || n.Load() != 2 {
			t.Errorf("%s: %d requests, %v, want 2", name, n.Load(), err)
		}
	}
}

// An answer that ends with its connection may be one that was cut off. Only a NAR is told by its hash.
func TestAnswerWithoutEnd(t *testing.T) {
	for header, wants := range map[string][2]bool{ // whether a list and a NAR are read
		"HTTP/1.1 200 OK\r\n\r\ntext":                                                 {false, true},
		"HTTP/1.0 200 OK\r\n\r\ntext":                                                 {false, true},
		"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ntext":                            {false, true},
		"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ntext":                            {true, true},
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\n\r\n": {true, true},
	} {
		s := open(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, header)
		}).URL)
		for i, name := range []string{"list", "nar/x.nar"} {
			r, _, err := s.Open(t.Context(), name)
			var b []byte
			if err == nil {
				b, err = io.ReadAll(r)
				r.Close()
			}
			if (err == nil) != wants[i] || err == nil && string(b) != "text" || err != nil && !strings.Contains(err.Error(), "does not say where the object ends") {
				t.Errorf("%q, %s: %q, %v", header, name, b, err)
			}
		}
	}
}
