package httpstore_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"narseal/nar/binarycache"
)

// The server says of one object that it does not take it, in many ways. That is no error of the cache, unless the server
// takes nothing else there either. What it was asked with is deleted.
func TestRefusedObject(t *testing.T) {
	status := func(n int) func(http.ResponseWriter) { return func(w http.ResponseWriter) { w.WriteHeader(n) } }
	for name, refuse := range map[string]func(http.ResponseWriter){
		"400": status(400), "403": status(403), "406": status(406), "409": status(409), "413": status(413), "414": status(414), "451": status(451),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			all, objects := false, map[string]string{}
			s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				switch _, there := objects[r.URL.Path]; {
				case r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, "/nar/") && (all || strings.HasSuffix(r.URL.Path, ".nar")):
					refuse(w)
				case r.Method == http.MethodPut:
					objects[r.URL.Path] = string(b)
					w.WriteHeader(201)
				case !there:
					w.WriteHeader(404)
				case r.Method == http.MethodDelete:
					delete(objects, r.URL.Path)
					w.WriteHeader(204)
				}
			}).URL)
			for _, all = range []bool{false, true} {
				_, err := s.Put(t.Context(), binarycache.Object{Name: "nar/x.nar", Size: 1}, strings.NewReader("x"), binarycache.Condition{New: true})
				if err == nil || errors.Is(err, fs.ErrInvalid) == all {
					t.Errorf("it takes nothing: %v: got %v", all, err)
				}
				mu.Lock()
				if len(objects) > 0 {
					t.Errorf("left over: %v", objects)
				}
				mu.Unlock()
			}
			if w := s.Warnings(); len(w) > 1 || len(w) == 1 && !strings.Contains(w[0], "ignores") {
				t.Errorf("warnings %q", w)
			}
		})
	}
}

// The same for a server that accepts the object and loses it, or a part of it.
func TestOneObjectIsLost(t *testing.T) {
	for _, keep := range []int{0, 1} {
		objects := map[string]int{}
		s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			n, there := objects[r.URL.Path]
			switch {
			case r.Method == http.MethodPut && !strings.HasSuffix(r.URL.Path, ".nar"):
				objects[r.URL.Path] = len(b)
				w.WriteHeader(201)
			case r.Method == http.MethodPut:
				if keep > 0 {
					objects[r.URL.Path] = keep
				}
				w.WriteHeader(201)
			case !there:
				w.WriteHeader(404)
			case r.Method == http.MethodDelete:
				delete(objects, r.URL.Path)
				w.WriteHeader(204)
			default:
				w.Header().Set("Content-Length", strconv.Itoa(n))
			}
		}).URL)
		_, err := s.Put(t.Context(), binarycache.Object{Name: "nar/x.nar", Size: 9}, strings.NewReader("some text"), binarycache.Condition{})
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%d bytes kept: got %v", keep, err)
		}
	}
}

// A server that lets nothing be deleted gets one object of this kind, and the user one warning.
func TestRefusedObjects(t *testing.T) {
	left := map[string]int64{}
	s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete, strings.HasSuffix(r.URL.Path, ".nar"):
			w.WriteHeader(403)
		case r.Method == http.MethodPut:
			left[r.URL.Path], _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(201)
		default:
			w.Header().Set("Content-Length", strconv.FormatInt(left[r.URL.Path], 10))
		}
	}).URL)
	for range 5 {
		if _, err := s.Put(t.Context(), binarycache.Object{Name: "nar/x.nar", Size: 1}, strings.NewReader("x"), binarycache.Condition{}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
	if w := s.Warnings(); len(left) != 1 || len(w) != 1 || !strings.Contains(w[0], "left over") {
		t.Errorf("left over: %v, warnings %q", left, w)
	}
}

// Several refusals at the same time do not get in each other's way.
func TestRefusedAtOnce(t *testing.T) {
	var mu sync.Mutex
	objects := map[string]int64{}
	s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		size, there := objects[r.URL.Path]
		switch {
		case strings.HasSuffix(r.URL.Path, ".nar"):
			w.WriteHeader(403)
		case r.Method == http.MethodPut:
			objects[r.URL.Path] = n
			w.WriteHeader(201)
		case !there:
			w.WriteHeader(404)
		case r.Method == http.MethodDelete:
			delete(objects, r.URL.Path)
			w.WriteHeader(204)
		default:
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		}
	}).URL)
	var puts sync.WaitGroup
	for range 32 {
		puts.Go(func() {
			if _, err := s.Put(t.Context(), binarycache.Object{Name: "nar/x.nar", Size: 1}, strings.NewReader("x"), binarycache.Condition{}); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
	puts.Wait()
	if w := s.Warnings(); len(objects) > 0 || len(w) > 0 {
		t.Errorf("left over: %v, warnings %q", objects, w)
	}
}
