package httpstore_test

import (
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"narseal/nar/binarycache"
)

// A half server keeps the first half of what it is sent by the first requests to write an object, whose connections break.
type half struct {
	mu         sync.Mutex
	objects    map[string]string
	breaks     map[string]int // requests that break, by the object
	conditions bool           // it checks them
}

func (h *half) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	now, there := h.objects[r.URL.Path]
	tag := fmt.Sprintf(`"%x"`, md5.Sum([]byte(now)))
	match := r.Header.Get("If-Match")
	switch {
	case h.conditions && (match != "" && (!there || match != tag) || r.Header.Get("If-None-Match") == "*" && there):
		w.WriteHeader(412)
	case r.Method == http.MethodPut && h.breaks[r.URL.Path] > 0:
		h.breaks[r.URL.Path]--
		h.objects[r.URL.Path] = string(b[:len(b)/(2+h.breaks[r.URL.Path])])
		panic(http.ErrAbortHandler)
	case r.Method == http.MethodPut:
		h.objects[r.URL.Path] = string(b)
		w.WriteHeader(201)
	case !there:
		w.WriteHeader(404)
	case r.Method == http.MethodDelete:
		delete(h.objects, r.URL.Path)
		w.WriteHeader(204)
	default:
		w.Header().Set("ETag", tag)
		w.Header().Set("Content-Length", fmt.Sprint(len(now)))
		io.WriteString(w, now)
	}
}

// What a try has written in part is written again, and not taken for somebody else's.
func TestPutThatBreaksOff(t *testing.T) {
	content := strings.Repeat("content ", 1000)
	for _, conditions := range []bool{true, false} {
		for breaks := range 3 {
			for _, name := range []string{"nar/x.nar", "x.narinfo", "nix-cache-info"} {
				h := &half{objects: map[string]string{"/old": "old"}, breaks: map[string]int{"/" + name: breaks, "/old": breaks}, conditions: conditions}
				s := open(t, serve(t, h.ServeHTTP).URL)
				if _, err := s.Stat(t.Context(), "old"); err != nil {
					t.Fatal(err)
				}
				o := binarycache.Object{Name: name, Size: int64(len(content))}
				if _, err := s.Put(t.Context(), o, strings.NewReader(content), binarycache.Condition{New: true}); err != nil || h.objects["/"+name] != content {
					t.Errorf("%s, %d breaks, conditions %v: %v, %d bytes", name, breaks, conditions, err, len(h.objects["/"+name]))
				}
				old, err := s.Stat(t.Context(), "old")
				if err != nil {
					t.Fatal(err)
				}
				o.Name = "old"
				if _, err := s.Put(t.Context(), o, strings.NewReader(content), binarycache.Condition{Version: old.Version}); err != nil || h.objects["/old"] != content {
					t.Errorf("over an old one, %d breaks, conditions %v: %v, %d bytes", breaks, conditions, err, len(h.objects["/old"]))
				}
			}
		}
	}
}

// What somebody else has written meanwhile stays.
func TestPutThatBreaksOffAndAnother(t *testing.T) {
	for _, conditions := range []bool{true, false} {
		h := &half{objects: map[string]string{}, breaks: map[string]int{"/x": 1}, conditions: conditions}
		s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				h.mu.Lock()
				if h.objects["/x"] == "co" {
					h.objects["/x"] = "contact"
				}
				h.mu.Unlock()
				if v := recover(); v != nil {
					panic(v)
				}
			}()
			h.ServeHTTP(w, r)
		}).URL)
		if _, err := s.Put(t.Context(), binarycache.Object{Name: "x", Size: 4}, strings.NewReader("cont"), binarycache.Condition{New: true}); err == nil || h.objects["/x"] != "contact" {
			t.Errorf("conditions %v: %v, %q", conditions, err, h.objects["/x"])
		}
	}
}
