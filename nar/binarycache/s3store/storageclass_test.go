package s3store_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/s3store"
)

// An object that is written again has the storage class that it had; a new one has that of the URL, or the bucket's own.
func TestStorageClass(t *testing.T) {
	noCredentials(t)
	const class = "X-Amz-Storage-Class"
	var put, begun []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		switch {
		case r.Method == http.MethodPut:
			put = append(put, r.Header.Get(class))
		case r.Method == http.MethodPost:
			begun = append(begun, r.Header.Get(class))
			w.WriteHeader(http.StatusBadRequest) // seen enough
			return
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			w.Header().Set(class, "GLACIER_IR")
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			w.Header().Set("Content-Length", "1")
		}
		w.Header().Set("ETag", `"a"`)
		if r.Method == http.MethodGet {
			io.WriteString(w, "x")
		}
	}))
	defer server.Close()
	for query, other := range map[string]string{"": "", "&storage-class=STANDARD_IA": "STANDARD_IA"} {
		put, begun = nil, nil
		s, err := s3store.New("s3://cache?endpoint="+server.URL+query, s3store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		write := func(o binarycache.Object, body io.ReadSeeker) error {
			_, err := s.Put(t.Context(), o, body, binarycache.Condition{})
			return err
		}
		r, o, err := s.Open(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		if err := write(o, strings.NewReader("y")); err != nil {
			t.Error(err)
		}
		if o, err = s.Stat(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		if err := write(o, strings.NewReader("y")); err != nil {
			t.Error(err)
		}
		if err := write(binarycache.Object{Name: "new", Size: 1}, strings.NewReader("y")); err != nil {
			t.Error(err)
		}
		if got, want := strings.Join(put, " "), strings.TrimSpace("GLACIER_IR GLACIER_IR "+other); strings.TrimSpace(got) != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
		// In parts.
		large := make([]byte, 100<<20+1)
		o.Size = int64(len(large))
		if err := write(o, bytes.NewReader(large)); err == nil {
			t.Error("a refused upload: no error")
		}
		if err := write(binarycache.Object{Name: "new", Size: o.Size}, bytes.NewReader(large)); err == nil {
			t.Error("a refused upload: no error")
		}
		if len(begun) != 2 || begun[0] != "GLACIER_IR" || begun[1] != other {
			t.Errorf("%q, in parts: got %q", query, begun)
		}
	}
}

// An object of another cache does not decide how a copy of it is stored, if the user has said that; nor can it be put where
// nobody can read it.
func TestStorageClassOfCopy(t *testing.T) {
	noCredentials(t)
	const class = "X-Amz-Storage-Class"
	for theirs, wants := range map[string][2]string{"STANDARD_IA": {"STANDARD_IA", "STANDARD"}, "DEEP_ARCHIVE": {"", "STANDARD"}, "GLACIER": {"", "STANDARD"}} {
		for i, query := range []string{"", "&storage-class=STANDARD"} {
			var got string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("ETag", `"a"`)
				w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
				w.Header().Set(class, theirs)
				if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/y") {
					got = r.Header.Get(class)
				}
				if r.Method == http.MethodPut && r.Header.Get("If-None-Match") != "" && strings.Contains(r.URL.Path, "probe") {
					w.WriteHeader(http.StatusPreconditionFailed)
				}
				io.Copy(io.Discard, r.Body)
			}))
			s, err := s3store.New("s3://cache?endpoint="+server.URL+query, s3store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, o, err := s.Open(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			o.Name = "y"
			_, _ = s.Put(t.Context(), o, strings.NewReader(""), binarycache.Condition{New: true}) // its request is what counts
			if got != wants[i] {
				t.Errorf("%s, %q: got %q, want %q", theirs, query, got, wants[i])
			}
			server.Close()
		}
	}
}
