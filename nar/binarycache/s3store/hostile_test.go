package s3store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/s3store"
)

// fake returns a store on a server that answers as f does.
func fake(t *testing.T, f http.HandlerFunc) *s3store.Store {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
	return open(t, "s3://cache?region=us-east-1&endpoint="+server.URL)
}

func page(w http.ResponseWriter, next string, keys ...string) {
	fmt.Fprintf(w, `<ListBucketResult><Name>cache</Name><IsTruncated>%v</IsTruncated><NextContinuationToken>%s</NextContinuationToken>`, next != "", next)
	for _, k := range keys {
		fmt.Fprintf(w, `<Contents><Key>%s</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>"e"</ETag><Size>1</Size></Contents>`, k)
	}
	io.WriteString(w, `</ListBucketResult>`)
}

// A listing that never comes to an end is an error.
func TestEndlessListing(t *testing.T) {
	for name, next := range map[string]func(n int64) (token, key string){
		"the same page":     func(int64) (string, string) { return "a", "x.narinfo" },
		"two pages":         func(n int64) (string, string) { return fmt.Sprint(n % 2), "x.narinfo" },
		"a circle far away": func(n int64) (string, string) { return fmt.Sprint(min(n, 100+n%7)), "x.narinfo" },
		"another circle":    func(n int64) (string, string) { return fmt.Sprint(n), "x.narinfo" },
		"keys of no cache":  func(n int64) (string, string) { return fmt.Sprint(n), fmt.Sprintf("sub/%09d", n) },
		"keys that descend": func(n int64) (string, string) { return fmt.Sprint(n), fmt.Sprintf("%09d.narinfo", 1000-n) },
		"empty pages":       func(n int64) (string, string) { return fmt.Sprint(n), "" },
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				token, key := next(n.Add(1))
				if key == "" {
					page(w, token)
				} else {
					page(w, token, key)
				}
			})
			var last error
			for _, err := range s.List(t.Context(), "") {
				last = err
			}
			if last == nil || !strings.Contains(last.Error(), "circles") {
				t.Errorf("got %v after %d pages", last, n.Load())
			}
		})
	}
}

// What a listing has that is no object of a cache is passed over.
func TestStrangeKeys(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		page(w, "", "a.narinfo", ".hidden", "nar/x.nar", "../../etc/passwd", "/abs", "nar/", "a//b", strings.Repeat("k", 2000), "b.narinfo")
	})
	var names []string
	for o, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	if got := strings.Join(names, " "); got != "a.narinfo b.narinfo" {
		t.Errorf("got %q", got)
	}
}

// Errors say what is wrong and what to do.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		status             int
		code, region       string
		want, hint         string
		absent, permission bool
	}{
		"no bucket":            {404, "NoSuchBucket", "", "there is no bucket cache", "?endpoint=", false, false},
		"no object":            {404, "NoSuchKey", "", "404 Not Found", "", true, false},
		"key":                  {403, "InvalidAccessKeyId", "", "does not know this access key", "AWS_ACCESS_KEY_ID", false, true},
		"key, as a 404":        {404, "InvalidAccessKeyId", "", "does not know this access key", "AWS_ACCESS_KEY_ID", false, true},
		"secret":               {403, "SignatureDoesNotMatch", "", "signature does not match", "AWS_SECRET_ACCESS_KEY", false, true},
		"denied":               {403, "AccessDenied", "", "AccessDenied", "s3:GetObject", true, true},
		"clock":                {403, "RequestTimeTooSkewed", "", "clocks", "set the clock", false, true},
		"clock, too late":      {403, "RequestExpired", "", "clocks", "set the clock", false, true},
		"region, not said":     {400, "AuthorizationHeaderMalformed", "", "another region", "?region=", false, false},
		"session":              {400, "ExpiredToken", "", "ExpiredToken", "aws sso login", false, true},
		"region":               {400, "AuthorizationHeaderMalformed", "eu-west-1", "region eu-west-1", "?region=eu-west-1", false, false},
		"redirect":             {301, "PermanentRedirect", "", "another region", "?region=", false, false},
		"redirect, and region": {301, "PermanentRedirect", "eu-west-1", "region eu-west-1", "?region=eu-west-1", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				n.Add(1)
				if c.region != "" {
					w.Header().Set("x-amz-bucket-region", c.region)
				}
				w.WriteHeader(c.status)
				fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the server says\u202e</Message></Error>", c.code)
			})
			_, _, err := s.Open(t.Context(), "nix-cache-info")
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\u202e") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if errors.Is(err, fs.ErrNotExist) != c.absent || errors.Is(err, fs.ErrPermission) != c.permission {
				t.Errorf("%v: absent %v, permission %v", err, errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission))
			}
			var hint interface{ Hint() string }
			if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), c.hint) || c.hint == "" && hint.Hint() != "" {
				t.Errorf("hint: want %q", c.hint)
			}
			if n.Load() != 1 {
				t.Errorf("%d requests", n.Load())
			}
		})
	}
}

// An answer that the library cannot read is asked for twice: what it calls an internal error is not one of the server.
func TestUnreadableAnswer(t *testing.T) {
	for name, value := range map[string]string{"Last-Modified": "", "Expires": "soon", "X-Amz-Tagging-Count": "x"} {
		var n atomic.Int64
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			w.Header().Set("ETag", `"a"`)
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			if w.Header().Set(name, value); value == "" {
				w.Header().Del(name)
			}
			io.WriteString(w, "x")
		})
		if _, _, err := s.Open(t.Context(), "x"); err != nil && n.Load() != 2 || n.Load() > 2 {
			t.Errorf("%s: %d requests, %v", name, n.Load(), err)
		}
	}
}

// What is no listing is an error, and asked for twice.
func TestNoXML(t *testing.T) {
	for _, text := range []string{"", "it works", "<html><p>it works", "<html><body>Please log in</body></html>", "<ListBucketResult><Contents>", "<a></b>", "<a/><b>", "<ListBucketResult><testsecret></x></ListBucketResult>", "<ListBucketResult>&testsecret;</ListBucketResult>",
		"<ListBucketResult></ListBucketResult>garbage", "<ListBucketResult/><ListBucketResult></ListBucketResult>", "</ListBucketResult>", "<>", "<!-- -->",
		"<!DOCTYPE x><ListBucketResult/>", "<ListBucketResult><a b=\"" + strings.Repeat("c", 10000) + "\"/></ListBucketResult>"} {
		var n atomic.Int64
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			io.WriteString(w, text)
		})
		var err error
		for _, err = range s.List(t.Context(), "") {
		}
		if err == nil || !strings.Contains(err.Error(), "an answer ") || n.Load() != 2 {
			t.Errorf("%q: %d requests, %v", text, n.Load(), err)
		}
	}
}

// A real server says so, too.
func TestWrongKeys(t *testing.T) {
	server := cachetest.NewS3(t)
	get := func() error {
		_, _, err := open(t, server.URL("")).Open(t.Context(), "nix-cache-info")
		return err
	}
	if err := get(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "other")
	if err := get(); err == nil || !strings.Contains(err.Error(), "signature does not match") || strings.Contains(err.Error(), "other") {
		t.Errorf("wrong secret: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "other")
	if err := get(); err == nil || !strings.Contains(err.Error(), "does not know this access key") || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("wrong key: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", cachetest.S3Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", cachetest.S3Secret)
	for url, want := range map[string]string{
		strings.Replace(server.URL(""), "s3://cache", "s3://other", 1):         "there is no bucket other",
		strings.Replace(server.URL(""), "region=us-east-1", "region=other", 1): "region",
	} {
		if _, _, err := open(t, url).Open(t.Context(), "nix-cache-info"); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if err := get(); err == nil || !strings.Contains(err.Error(), "AccessDenied") || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("no credentials: %v", err)
	}
}

// What killed runs have left is deleted, and nothing that a run may still need.
func TestClean(t *testing.T) {
	// A server that ignores the prefix lists the cache, too.
	const old, others = "narseal-probe-0123456789abcdef", `<Contents><Key>00000000000000000000000000000000.narinfo</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>` +
		`<Contents><Key>nix-cache-info</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>` +
		`<Contents><Key>narseal-probe-notes</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>`
	var mu sync.Mutex
	deleted := map[string]int{}
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			dir, ok := strings.CutSuffix(r.URL.Query().Get("prefix"), "narseal-probe-")
			if !ok || dir != "" && dir != "nar/" && dir != "log/" && dir != "realisations/" && dir != "debuginfo/" {
				t.Errorf("prefix %q", r.URL.Query().Get("prefix"))
			}
			at := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
			fmt.Fprintf(w, `<ListBucketResult>`+others+`<Contents><Key>`+dir+old+`</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>`+
				`<Contents><Key>narseal-probe-0123456789abcde2</Key><LastModified>%s</LastModified></Contents></ListBucketResult>`, at)
		case http.MethodHead:
			w.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
		case http.MethodDelete:
			mu.Lock()
			deleted[r.URL.Path]++
			mu.Unlock()
			w.WriteHeader(http.StatusNoContent)
		}
	})
	want := map[string]int{"/cache/" + old: 1, "/cache/nar/" + old: 1, "/cache/log/" + old: 1, "/cache/realisations/" + old: 1, "/cache/debuginfo/" + old: 1}
	if err := s.Clean(t.Context()); err != nil || !maps.Equal(deleted, want) {
		t.Errorf("deleted %v, %v", deleted, err)
	}
}

// A listing that is forbidden is one that the store cannot do.
func TestForbiddenListing(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		io.WriteString(w, "<Error><Code>AccessDenied</Code></Error>")
	})
	for _, err := range s.List(t.Context(), "") {
		if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
	}
}

// What a server sends without end is not collected.
func TestEndlessAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		junk := strings.Repeat("<Contents><Key>x", 1000)
		for {
			if _, err := io.WriteString(w, junk); err != nil {
				return
			}
		}
	}
	for name, f := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403); endless(w, r) },
		"a page": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "<ListBucketResult>")
			endless(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := fake(t, f)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var last error
			for _, err := range s.List(ctx, "") {
				last = err
			}
			if last == nil {
				t.Error("no error")
			}
		})
	}
}

// An error is read into memory only if it is short.
func TestLongAnswer(t *testing.T) {
	for size, want := range map[int]string{1000: "xxx", 100_000: "does not end"} {
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(403)
			io.WriteString(w, "<Error><Code>Other</Code><Message>"+strings.Repeat("x", size)+"</Message></Error>")
		})
		if _, _, err := s.Open(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %q", size, err, want)
		}
	}
}

// Parts of a URL that are wrong are named, and the URL is not shown.
func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"s3://":                   "want s3://BUCKET",
		"s3://key:hunter2@bucket": "credentials do not belong",
		"s3://bucket?endpoint=http://a:hunter2@b": "endpoint: want",
		"s3://bucket?endpoint=ftp://b":            "scheme: want",
		"s3://bucket?scheme=gopher":               "scheme: want",
		"s3://bucket?addressing-style=other":      "addressing-style",
		"s3://bucket?hunter=2":                    "unknown parameter hunter",
		"s3://bucket:1":                           "?endpoint=",
		"s3://bucket?region=":                     "region: it is empty",
		"s3://bucket/l?region=eu-west-1/x.jsonl":  `region "eu-west-1/x.jsonl": want a name`,
	} {
		_, err := s3store.New(url, s3store.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
	for url, want := range map[string]string{
		"s3://b": "s3://b",
		"s3://b/?profile=p&storage-class=GLACIER":   "s3://b",
		"s3://b/p/q/?compression=zstd&region=x":     "s3://b/p/q",
		"s3://b?endpoint=EXAMPLE.org&scheme=http":   "s3://b?endpoint=http://example.org",
		"s3://b?endpoint=https://example.org:9000/": "s3://b?endpoint=https://example.org:9000",
	} {
		s, err := s3store.New(url, s3store.Options{})
		if err != nil || s.URL() != want {
			t.Errorf("%s: got %v, %v, want %s", url, s, err, want)
		}
	}
}

// A profile that the URL names, and that is not there or has no keys, is an error: nobody is anonymous by mistake.
func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		t.Setenv(v, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", dir)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", writeFile(t, dir, "credentials", "[default]\nregion = x\n[good]\naws_access_key_id = test\naws_secret_access_key = testsecret\n"+
		"[half]\naws_access_key_id = test\n[role]\nrole_arn = arn\nsource_profile = good\n"))
	connect := func(url string) error {
		s, err := s3store.New(url, s3store.Options{})
		if err != nil {
			return err
		}
		return s.Connect(t.Context())
	}
	for url, want := range map[string]string{
		"s3://b": "", "s3://b?profile=good": "", "s3://b?profile=none": "profile none", "s3://b?profile=half": "partial", "s3://b?profile=role": "export-credentials",
	} {
		err := connect(url)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "testsecret")) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
	t.Setenv("AWS_PROFILE", "none")
	if err := connect("s3://b"); err == nil {
		t.Error("AWS_PROFILE=none: no error")
	}
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

var _ binarycache.Store = (*s3store.Store)(nil)
