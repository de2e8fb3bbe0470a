package s3store_test

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/s3store"
)

// answering returns the store on a server that answers without credentials.
func answering(t *testing.T, f http.HandlerFunc) *s3store.Store {
	t.Helper()
	noCredentials(t)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return open(t, "s3://cache?endpoint="+server.URL)
}

// A Put is an error where the answer is not one of S3, or the server does not have all of it afterwards.
func TestPutIsConfirmed(t *testing.T) {
	// What is kept is less than the object by which the store finds out whether the server takes others.
	const nar, info, hash = "nar/x.nar", "x.narinfo", "00000000000000000000000000000000"
	content := strings.Repeat("content", 100)
	tag := func(s string) string { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(s))) }
	for name, c := range map[string]struct {
		object string
		keep   string // what the server keeps; "": nothing
		tag    string
		text   string // of the answer
		want   string // part of the error
	}{
		"all":                       {nar, content, tag(content), "", ""},
		"all of a narinfo":          {info, content, tag(content), "", ""},
		"encrypted":                 {nar, content, `"00000000000000000000000000000000"`, "", ""},
		"an encrypted narinfo":      {info, content, `"00000000000000000000000000000000"`, "", ""},
		"in parts":                  {nar, content, `"00000000000000000000000000000000-2"`, "", ""},
		"a part":                    {nar, content[:50], tag(content[:50]), "", "700 bytes but has 50"},
		"a part of a narinfo":       {info, content[:50], tag(content[:50]), "", "700 bytes but has 50"},
		"a part, and the right tag": {nar, content[:50], tag(content), "", "700 bytes but has 50"},
		"nothing":                   {nar, "", tag(content), "", "does not have it"},
		"nothing of a narinfo":      {info, "", `"x"`, "", "does not have it"},
		"no narinfo, the right tag": {hash + ".narinfo", "", tag(content), "", "does not have it"},
		"no cache, the right tag":   {"nix-cache-info", "", tag(content), "", "does not have it"},
		"a narinfo":                 {hash + ".narinfo", content, tag(content), "", ""},
		"no tag":                    {nar, content, "", "", "without an ETag"},
		"no tag of a narinfo":       {info, content, "", "", "without an ETag"},
		"a login page":              {nar, "", "", "<html>log in</html>", "not of S3"},
		"a login page with a tag":   {info, "", tag(content), "log in", "not of S3"},
		"an error":                  {info, "", tag(content), "<Error><Code>InternalError</Code></Error>", "not of S3"},
		"another narinfo meanwhile": {info, "other", tag(content), "", ""},
		"white space in the answer": {info, content, tag(content), "\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			kept := ""
			s := answering(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPut:
					if b, err := io.ReadAll(r.Body); err != nil || string(b) != content && !strings.Contains(r.URL.Path, "probe") {
						t.Errorf("put: %q, %v", b, err)
					}
					kept = c.keep
					if c.tag != "" {
						w.Header().Set("ETag", c.tag)
					}
					io.WriteString(w, c.text)
				case kept == "":
					w.WriteHeader(http.StatusNotFound)
				default:
					w.Header().Set("ETag", tag(kept))
					if kept == c.keep {
						w.Header().Set("ETag", c.tag)
					}
					w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
					w.Header().Set("Content-Length", fmt.Sprint(len(kept)))
				}
			})
			v, err := s.Put(t.Context(), binarycache.Object{Name: c.object, Size: int64(len(content))}, strings.NewReader(content), binarycache.Condition{})
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || errors.Is(err, fs.ErrInvalid)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err == nil && string(v) != strings.Trim(c.tag, `"`) {
				t.Errorf("version %q, want %s", v, c.tag)
			}
		})
	}
}

// A server that answers with the MD5 of what it was sent, and has a part of it with another ETag, does not have the object. One
// that has other contents does: another program has written them.
func TestPartWithAnotherTag(t *testing.T) {
	const name = "00000000000000000000000000000000.narinfo"
	content := strings.Repeat("content", 100)
	tag := func(s string) string { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(s))) }
	for _, c := range []struct {
		kept string
		ok   bool
	}{
		{content, true}, {content[:50], false}, {content[:699], false}, {"other", true}, {content + "and more", true}, {content[:50] + "other", true},
	} {
		s := answering(t, func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			switch {
			case err != nil:
				t.Error(err)
			case r.Method == http.MethodPut:
				w.Header().Set("ETag", tag(string(b)))
			case !strings.HasSuffix(r.URL.Path, name):
				w.WriteHeader(http.StatusNoContent)
			default:
				w.Header().Set("ETag", tag(c.kept))
				w.Header().Set("Content-Length", fmt.Sprint(len(c.kept)))
				if r.Method == http.MethodGet {
					io.WriteString(w, c.kept)
				}
			}
		})
		v, err := s.Put(t.Context(), binarycache.Object{Name: name, Size: int64(len(content))}, strings.NewReader(content), binarycache.Condition{})
		if (err == nil) != c.ok || c.ok && `"`+string(v)+`"` != tag(content) || !c.ok && !strings.Contains(err.Error(), fmt.Sprint("700 bytes but has ", len(c.kept))) {
			t.Errorf("%d bytes: got version %q, %v", len(c.kept), v, err)
		}
	}
}

// A server that loses one object, and keeps others, does not end the run.
func TestOneObjectIsLost(t *testing.T) {
	for _, keep := range []int{0, 1} {
		objects := map[string]string{}
		s := answering(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			switch {
			case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".nar"):
				if keep > 0 {
					objects[r.URL.Path] = string(b[:keep])
				}
			case r.Method == http.MethodPut:
				objects[r.URL.Path] = string(b)
			case r.Method == http.MethodDelete:
				delete(objects, r.URL.Path)
				w.WriteHeader(http.StatusNoContent)
			}
			kept, ok := objects[r.URL.Path]
			if r.Method == http.MethodPut {
				kept, ok = string(b), true
			}
			if !ok && r.Method == http.MethodHead {
				w.WriteHeader(http.StatusNotFound)
			}
			w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum([]byte(kept))))
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", fmt.Sprint(len(kept)))
			}
		})
		_, err := s.Put(t.Context(), binarycache.Object{Name: "nar/x.nar", Size: 9}, strings.NewReader("some text"), binarycache.Condition{})
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%d bytes kept: got %v", keep, err)
		}
	}
}

// A class that another server does not know is not asked for.
func TestUnusualStorageClass(t *testing.T) {
	for class, want := range map[string]string{"SNOW": "", "deep_archive": "", "Glacier": "", "GLACIER_IR": "GLACIER_IR", strings.Repeat("X", 200): ""} {
		got := "none"
		s := answering(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/x") {
				got = r.Header.Get("X-Amz-Storage-Class")
			}
			if r.Method == http.MethodPut && (r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != "") && strings.Contains(r.URL.Path, "probe") {
				w.WriteHeader(http.StatusPreconditionFailed)
			}
			w.Header().Set("ETag", `"a"`)
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		})
		o := binarycache.Object{Name: "x", Size: 1, Attributes: map[string]string{"X-Amz-Storage-Class": class}}
		if _, err := s.Put(t.Context(), o, strings.NewReader("x"), binarycache.Condition{New: true}); err != nil {
			t.Error(err)
		}
		if got != want {
			t.Errorf("%.20s: got %q, want %q", class, got, want)
		}
	}
}
