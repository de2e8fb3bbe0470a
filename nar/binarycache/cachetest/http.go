package cachetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"narseal/nar/nartest"
)

// NewNginx starts nginx with a directory that it serves, and that it lets be written by PUT and DELETE. It needs nginx
// with the DAV module on PATH (see [nartest.Tool]).
func NewNginx(t testing.TB) (url, dir string) {
	t.Helper()
	program := nartest.Tool(t, "nginx", "/usr/sbin/nginx")
	if out, _ := exec.Command(program, "-V").CombinedOutput(); !bytes.Contains(out, []byte("http_dav_module")) {
		t.Skip("nginx has no DAV module")
	}
	work := t.TempDir()
	dir = filepath.Join(work, "root")
	for _, d := range []string{dir, filepath.Join(work, "logs")} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	host := freePort(t)
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	conf := fmt.Sprintf(`
%s daemon off; master_process off; pid %[2]s/pid; error_log %[2]s/logs/error.log;
events {}
http {
  access_log off;
  client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
  server {
    listen %[3]s;
    root %[2]s/root;
    client_max_body_size 0;
    location / { dav_methods PUT DELETE; create_full_put_path on; }
  }
}
`, user, work, host)
	file := filepath.Join(work, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o666); err != nil {
		t.Fatal(err)
	}
	Start(t, exec.Command(program, "-p", work, "-e", filepath.Join(work, "logs", "error.log"), "-c", file), host)
	return "http://" + host, dir
}

// A WebStore is an HTTP server that keeps objects in memory. It takes GET, HEAD, PUT and DELETE, ranges and conditions.
type WebStore struct {
	mu      sync.Mutex
	objects map[string]webObject
}

type webObject struct {
	content []byte
	header  http.Header
	at      time.Time
}

func (o *webObject) etag() string { return fmt.Sprintf(`"%x"`, sha256.Sum256(o.content)) }

// Objects are the contents, by name.
func (s *WebStore) Objects() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	for name, o := range s.objects {
		all[strings.TrimPrefix(name, "/")] = string(o.content)
	}
	return all
}

// Header is what an object was written with.
func (s *WebStore) Header(name string) http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects["/"+name].header
}

// Set adds an object.
func (s *WebStore) Set(name, content string, header http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		s.objects = map[string]webObject{}
	}
	s.objects["/"+name] = webObject{[]byte(content), header, time.Now()}
}

func (s *WebStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		s.mu.Lock()
		o, ok := s.objects[name]
		s.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		for _, h := range []string{"Content-Type", "Content-Encoding", "Cache-Control"} {
			if v := o.header.Get(h); v != "" {
				w.Header().Set(h, v)
			}
		}
		w.Header().Set("ETag", o.etag())
		http.ServeContent(w, r, "", o.at, bytes.NewReader(o.content))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if r.Header.Get("If-None-Match") == "*" && ok || r.Header.Get("If-Match") != "" && (!ok || r.Header.Get("If-Match") != o.etag()) {
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	switch {
	case r.Method == http.MethodPut:
		if s.objects == nil {
			s.objects = map[string]webObject{}
		}
		o = webObject{body, r.Header.Clone(), time.Now()}
		s.objects[name] = o
		w.Header().Set("ETag", o.etag())
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodDelete && ok:
		delete(s.objects, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, r)
	}
}
