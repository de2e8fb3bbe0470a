package httpstore_test

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
)

// A Put is an error where the server does not have all of it afterwards.
func TestPutIsThere(t *testing.T) {
	const nar, info = "nar/x.nar", "x.narinfo"
	content := strings.Repeat("content", 100)
	for name, c := range map[string]struct {
		object string
		keep   func(b []byte) []byte // what the server keeps; nil: nothing
		status int
		tag    bool
		want   string // part of the error
	}{
		"all":                         {nar, func(b []byte) []byte { return b }, 201, false, ""},
		"all, with a tag":             {nar, func(b []byte) []byte { return b }, 201, true, ""},
		"all, and 202":                {nar, func(b []byte) []byte { return b }, 202, true, ""},
		"a part":                      {nar, func(b []byte) []byte { return b[:100] }, 201, false, "700 bytes but has 100"},
		"a part, with a tag":          {nar, func(b []byte) []byte { return b[:100] }, 201, true, "700 bytes but has 100"},
		"other, with a tag":           {nar, func([]byte) []byte { return []byte("other") }, 201, true, "700 bytes but has 5"},
		"nothing":                     {nar, nil, 201, false, "does not have it"},
		"nothing, with a tag":         {nar, nil, 201, true, "does not have it"},
		"nothing, and 202":            {info, nil, 202, true, "does not have it"},
		"nothing, and 207":            {nar, nil, 207, true, "want 200, 201 or 204"},
		"a part of a narinfo":         {info, func(b []byte) []byte { return b[:100] }, 201, false, "700 bytes but has 100"},
		"nothing of a narinfo":        {info, func(b []byte) []byte { return nil }, 201, false, "700 bytes but has 0"},
		"another narinfo meanwhile":   {info, func([]byte) []byte { return []byte("StorePath: /other") }, 201, false, ""},
		"a longer narinfo meanwhile":  {info, func(b []byte) []byte { return append(b, b...) }, 201, false, ""},
		"another narinfo, as long":    {info, bytes.ToUpper, 201, false, ""},
		"a narinfo, which has a tag":  {info, func(b []byte) []byte { return b }, 201, true, ""},
		"a part of a narinfo, tagged": {info, func(b []byte) []byte { return b[:100] }, 201, true, "700 bytes but has 100"},
		"nothing, which has a tag":    {info, nil, 201, true, "does not have it"},
		"a narinfo, and no more time": {info, func(b []byte) []byte { return b }, 204, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var kept []byte
			there := false
			s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPut:
					b, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					if c.tag {
						w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(b)))
					}
					if there = c.keep != nil; there {
						kept = c.keep(b)
					}
					w.WriteHeader(c.status)
				case !there:
					w.WriteHeader(http.StatusNotFound)
				default:
					w.Header().Set("Content-Length", fmt.Sprint(len(kept)))
					w.Write(kept)
				}
			}).URL)
			_, err := s.Put(t.Context(), binarycache.Object{Name: c.object, Size: int64(len(content))}, strings.NewReader(content), binarycache.Condition{})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Whatever an object is called, its address is below that of the cache, and a server that decodes it finds the name.
func TestAddresses(t *testing.T) {
	var got string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.RequestURI
		if r.Method == http.MethodPut {
			io.Copy(io.Discard, r.Body)
		}
	})
	for _, base := range []string{"/site/cache", "/site%2Fa/cache"} {
		s := open(t, server.URL+base)
		for name, want := range map[string]string{
			"nar/a.nar.xz": "nar/a.nar.xz", "nar/a.nar?hash=b": "nar/a.nar", "log/%2e%2e/%2e%2e/x": "log/%2e%2e/%2e%2e/x", "log/a?b": "log/a?b",
			"log/a#b": "log/a#b", "log/a b": "log/a b", "log/a\r\nX: y": "log/a\r\nX: y", "a:/b": "a:/b", "@host/x": "@host/x", "log/a%zz": "log/a%zz", "log/ä": "log/ä",
		} {
			for method, do := range map[string]func() error{
				"GET":  func() error { r, _, err := s.Open(t.Context(), name); closeIf(r); return err },
				"HEAD": func() error { _, err := s.Stat(t.Context(), name); return err },
				"PUT": func() error {
					_, err := s.Put(t.Context(), binarycache.Object{Name: name}, strings.NewReader(""), binarycache.Condition{})
					return err
				},
				"DELETE": func() error { return s.Delete(t.Context(), name, binarycache.Condition{}) },
			} {
				got = ""
				if err := do(); err != nil {
					t.Errorf("%s %q: %v", method, name, err)
				}
				rest, ok := strings.CutPrefix(got, base+"/")
				path, query, _ := strings.Cut(rest, "?")
				if decoded, err := url.PathUnescape(path); !ok || err != nil || decoded != want || query != "" && query != "hash=b" {
					t.Errorf("%s %q: asked for %q", method, name, got)
				}
			}
		}
	}
}

func closeIf(c io.Closer) {
	if c != nil {
		c.Close()
	}
}

// What stands for another name in a URL does not lead nginx out of the cache.
func TestNginxAddresses(t *testing.T) {
	base, _ := cachetest.NewNginx(t)
	outside, s := open(t, base), open(t, base+"/cache")
	for _, name := range []string{"log/%2e%2e/%2e%2e/victim", "log/%2e%2e%2f%2e%2e%2fvictim", "log/x?victim", "log/x#victim"} {
		text := "log of " + name
		if _, err := s.Put(t.Context(), binarycache.Object{Name: name, Size: int64(len(text))}, strings.NewReader(text), binarycache.Condition{}); err != nil {
			t.Fatal(err)
		}
		r, _, err := s.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); string(b) != text || err != nil {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
		r.Close()
	}
	for _, name := range []string{"victim", "cache/victim", "cache/log/x", "cache/log/victim"} {
		if _, err := outside.Stat(t.Context(), name); err == nil {
			t.Errorf("%s is written", name)
		}
	}
}

// A server that ignores conditions and is busy at first: what somebody else writes meanwhile is not overwritten or deleted
// by another try. What an earlier try has done itself is no conflict.
func TestBusyServer(t *testing.T) {
	for name, c := range map[string]struct {
		method    string
		meanwhile string // what the object is after the first try, which fails; "": it is missing
		new       bool
		want      error
		object    string
	}{
		"put, replaced meanwhile":    {"PUT", "other", false, binarycache.ErrChanged, "other"},
		"put, deleted meanwhile":     {"PUT", "", false, binarycache.ErrChanged, ""},
		"put, new meanwhile":         {"PUT", "other", true, fs.ErrExist, "other"},
		"put, by the first try":      {"PUT", "mine", false, nil, "mine"},
		"put, new by the first try":  {"PUT", "mine", true, nil, "mine"},
		"put, unchanged":             {"PUT", "old", false, nil, "mine"},
		"delete, replaced meanwhile": {"DELETE", "other", false, binarycache.ErrChanged, "other"},
		"delete, by the first try":   {"DELETE", "", false, nil, ""},
		"delete, unchanged":          {"DELETE", "old", false, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			objects := map[string]string{}
			tries := 0
			s := open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				probe := r.URL.Path != "/x"
				if tag := func() string { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(objects[r.URL.Path]))) }; objects[r.URL.Path] != "" {
					w.Header().Set("ETag", tag())
				}
				if r.Method == c.method && !probe {
					if tries++; tries == 1 {
						delete(objects, "/x")
						if c.meanwhile != "" {
							objects["/x"] = c.meanwhile
						}
						w.WriteHeader(http.StatusServiceUnavailable)
						return
					}
				}
				switch _, ok := objects[r.URL.Path]; {
				case r.Method == http.MethodPut:
					objects[r.URL.Path] = string(body)
				case !ok:
					w.WriteHeader(http.StatusNotFound)
				case r.Method == http.MethodDelete:
					delete(objects, r.URL.Path)
				default:
					io.WriteString(w, objects[r.URL.Path])
				}
			}).URL)
			cond := binarycache.Condition{New: c.new}
			if !c.new {
				objects["/x"] = "old"
				o, err := s.Stat(t.Context(), "x")
				if err != nil || o.Version == "" {
					t.Fatal(o, err)
				}
				cond.Version = o.Version
			}
			var err error
			if c.method == "PUT" {
				_, err = s.Put(t.Context(), binarycache.Object{Name: "x", Size: 4}, strings.NewReader("mine"), cond)
			} else {
				err = s.Delete(t.Context(), "x", cond)
			}
			if !errors.Is(err, c.want) || objects["/x"] != c.object {
				t.Errorf("got %v and %q, want %v and %q", err, objects["/x"], c.want, c.object)
			}
		})
	}
}
