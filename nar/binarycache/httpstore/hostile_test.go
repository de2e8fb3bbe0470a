package httpstore_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/httpstore"
)

func serve(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// cut sends an object, of which no answer has more than so many bytes.
func cut(w http.ResponseWriter, r *http.Request, content []byte, most int, header map[string]string) {
	for k, v := range header {
		w.Header().Set(k, v)
	}
	http.ServeContent(&short{ResponseWriter: w, left: most}, r, "", time.Time{}, bytes.NewReader(content))
}

// short breaks the connection after some bytes.
type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	if len(p) <= s.left {
		s.left -= len(p)
		return s.ResponseWriter.Write(p)
	}
	s.ResponseWriter.Write(p[:s.left])
	http.NewResponseController(s.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

func readAll(t *testing.T, s *httpstore.Store, name string) ([]byte, error) {
	t.Helper()
	r, _, err := s.Open(t.Context(), name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// A download goes on where it broke off, if it is the same object.
func TestResume(t *testing.T) {
	content := noise(3 << 20)
	other := noise(3<<20 + 1)[1:]
	date := "Fri, 02 Jan 2026 03:04:05 GMT"
	for name, c := range map[string]struct {
		header, later map[string]string
		want          string // of the error
	}{
		"ETag":                {map[string]string{"ETag": `"a"`}, nil, ""},
		"another ETag":        {map[string]string{"ETag": `"a"`}, map[string]string{"ETag": `"b"`}, "has changed"},
		"weak ETag":           {map[string]string{"ETag": `W/"a"`}, nil, "cannot tell versions"},
		"Last-Modified":       {map[string]string{"Last-Modified": date}, nil, ""},
		"other Last-Modified": {map[string]string{"Last-Modified": date}, map[string]string{"Last-Modified": "Fri, 02 Jan 2026 03:04:06 GMT"}, "has changed"},
		"nothing":             {nil, nil, "cannot tell versions"},
		"ETag of this second": {map[string]string{"ETag": `"1a-2b"`, "Last-Modified": date, "Date": date}, nil, ""},
		"it has aged":         {map[string]string{"ETag": `"1a-2b"`, "Last-Modified": date, "Date": date}, map[string]string{"ETag": `"1a-2b"`, "Last-Modified": date, "Date": "Fri, 02 Jan 2026 03:04:08 GMT"}, ""},
		"another second":      {map[string]string{"ETag": `"1a-2b"`, "Last-Modified": date, "Date": date}, map[string]string{"ETag": `"1b-2b"`, "Last-Modified": date, "Date": date}, "has changed"},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				header, send := c.header, content
				if n.Add(1) > 1 && c.later != nil {
					header = c.later
					if c.want != "" {
						send = other
					}
				}
				cut(w, r, send, 1200<<10, header)
			}).URL)
			got, err := readAll(t, s, "nar/x.nar")
			switch {
			case c.want == "" && (err != nil || !bytes.Equal(got, content)):
				t.Errorf("%d bytes, %v", len(got), err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A server that knows no ranges sends it all again; one that sends the wrong part is refused.
func TestResumeStrangely(t *testing.T) {
	content := noise(2 << 20)
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, n int64)
		want   string
	}{
		"no ranges": {func(w http.ResponseWriter, r *http.Request, n int64) {
			r.Header.Del("Range")
			cut(w, r, content, []int{1 << 20, 4 << 20}[min(n-1, 1)], map[string]string{"ETag": `"a"`})
		}, ""},
		"the wrong part": {func(w http.ResponseWriter, r *http.Request, n int64) {
			if n > 1 {
				r.Header.Set("Range", "bytes=5-")
			}
			cut(w, r, content, 1<<20, map[string]string{"ETag": `"a"`})
		}, "Content-Range"},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) { c.answer(w, r, n.Add(1)) }).URL)
			got, err := readAll(t, s, "nar/x.nar")
			switch {
			case c.want == "" && (err != nil || !bytes.Equal(got, content)):
				t.Errorf("%d bytes, %v", len(got), err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Redirects are followed for reading, a bounded number of them, and no other server sees the credentials.
func TestRedirects(t *testing.T) {
	var seen atomic.Pointer[http.Request]
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r)
		w.Header().Set("ETag", `"a"`)
		io.WriteString(w, "content")
	})
	s := open(t, strings.Replace(serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "user" || password != "hunter2" {
			t.Errorf("credentials: %q %q", user, password)
		}
		switch r.URL.Path {
		case "/circle":
			http.Redirect(w, r, "/circle?again", http.StatusFound)
		case "/file":
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		case "/nowhere":
			w.WriteHeader(http.StatusFound)
		default:
			http.Redirect(w, r, strings.Replace(other.URL, "http://", "http://other:secret@", 1)+r.URL.Path+"?signature=1", http.StatusTemporaryRedirect)
		}
	}).URL, "http://", "http://user:hunter2@", 1))
	if b, err := readAll(t, s, "nar/x.nar"); err != nil || string(b) != "content" {
		t.Errorf("got %q, %v", b, err)
	}
	if r := seen.Load(); r == nil || r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" || r.URL.RawQuery != "signature=1" {
		t.Errorf("the other server has seen %+v", r)
	}
	for name, want := range map[string]string{"circle": "more than 10 redirects", "file": "neither http nor https", "nowhere": "an invalid URL"} {
		if _, err := readAll(t, s, name); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	_, err := s.Put(t.Context(), binarycache.Object{Name: "x", Size: 1}, strings.NewReader("x"), binarycache.Condition{})
	if err == nil || !strings.Contains(err.Error(), "the server redirects the write") {
		t.Errorf("put: %v", err)
	}
}

// From https nothing leads to http. The certificate is trusted by the file that the environment names, and not otherwise.
func TestTLS(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "content") })
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
		}
		io.WriteString(w, "content")
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, b, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"} {
		t.Setenv(v, "")
	}
	_, err := readAll(t, open(t, server.URL), "x")
	var hint interface{ Hint() string }
	if err == nil || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "SSL_CERT_FILE") {
		t.Errorf("an unknown certificate: %v", err)
	}
	for _, v := range []string{"NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"} {
		t.Run(v, func(t *testing.T) {
			t.Setenv(v, file)
			s := open(t, server.URL)
			if b, err := readAll(t, s, "x"); err != nil || string(b) != "content" {
				t.Errorf("got %q, %v", b, err)
			}
			if _, err := readAll(t, s, "down"); err == nil || !strings.Contains(err.Error(), "from https to http") {
				t.Errorf("down: %v", err)
			}
		})
	}
	t.Setenv("NIX_SSL_CERT_FILE", filepath.Join(t.TempDir(), "none"))
	if _, err := httpstore.New(server.URL, httpstore.Options{Netrc: os.DevNull}); err == nil || !strings.Contains(err.Error(), "NIX_SSL_CERT_FILE") {
		t.Errorf("no such file: %v", err)
	}
}

func TestStatuses(t *testing.T) {
	for status, c := range map[int]struct {
		absent, permission bool
		hint               string
	}{
		404: {true, false, ""}, 410: {true, false, ""}, 403: {true, true, "netrc"}, 401: {false, true, "netrc"}, 400: {}, 501: {},
	} {
		s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }).URL)
		_, _, err := s.Open(t.Context(), "x")
		if err == nil || errors.Is(err, fs.ErrNotExist) != c.absent || errors.Is(err, fs.ErrPermission) != c.permission || !strings.Contains(err.Error(), fmt.Sprint(status)) {
			t.Errorf("%d: %v", status, err)
		}
		var hint interface{ Hint() string }
		if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), c.hint) || c.hint == "" && hint.Hint() != "" {
			t.Errorf("%d: hint: want %q", status, c.hint)
		}
	}
}

// A header without end, and one that is too long, are errors.
func TestEndlessHeader(t *testing.T) {
	s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
		w.WriteHeader(404)
	}).URL)
	if _, _, err := s.Open(t.Context(), "x"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// The user name and password of a host come from a netrc file.
func TestNetrc(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s:%s", user, password)
	})
	file := filepath.Join(t.TempDir(), "netrc")
	for content, want := range map[string]string{
		"machine 127.0.0.1 login a password b":                                                                   "a:b",
		"machine other login x password y\nmachine 127.0.0.1\n login a\n password b\n":                           "a:b",
		"default login a password b":                                                                             "a:b",
		"machine other login a password b":                                                                       ":",
		`machine 127.0.0.1 login "a b" password "c\"d" # e`:                                                      `a b:c"d`,
		"macdef x\nmachine 127.0.0.1 login evil password evil\n\nmachine 127.0.0.1 login a account z password b": "a:b",
		"": ":",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := httpstore.New(server.URL, httpstore.Options{Netrc: file})
		if err != nil {
			t.Errorf("%q: %v", content, err)
			continue
		}
		if b, err := readAll(t, s, "x"); err != nil || string(b) != want {
			t.Errorf("%q: got %q, %v, want %q", content, b, err, want)
		}
	}
	for content, want := range map[string]string{
		"machine": "machine has no value", "password hunter2": "line 1", "machine a\nlogin b hunter2 c": "line 2", `machine "hunter2`: "a quote does not end",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := httpstore.New(server.URL, httpstore.Options{Netrc: file}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
}
