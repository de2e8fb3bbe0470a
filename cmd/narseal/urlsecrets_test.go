package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// No command shows what is secret in a URL, whatever is wrong with the URL or with what the server sends.
func TestSecretsOfURLs(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/garbage"):
			w.Write([]byte("not a path at all\n"))
		case strings.HasSuffix(r.URL.Path, "/nix-cache-info"):
			w.Write([]byte("StoreDir: /nix/store\n"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	cache := t.TempDir()
	if err := os.WriteFile(filepath.Join(cache, "nix-cache-info"), []byte("StoreDir: /nix/store\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	secrets := []string{"hunter2secret", "TOKENSECRET", "joe:"}
	var urls []string
	for _, at := range []string{host + "/c", host + "/garbage", host + "/missing", "127.0.0.1:1/x", "nohost.invalid/x", host + "/%zz"} {
		urls = append(urls, "http://joe:hunter2secret@"+at, "http://joe:hunter2secret@"+at+"?token=TOKENSECRET",
			"http://joe:hunter2secret/@"+at, "https://joe:hunter2secret@"+at, "ftp://joe:hunter2secret@"+at, "file://joe:hunter2secret@"+at,
			"s3://joe:hunter2secret@"+at, "s3://bucket/x?region=a&endpoint=http://joe:hunter2secret@"+at)
	}
	if testing.Short() {
		urls = urls[:16]
	}
	for _, url := range urls {
		dir := t.TempDir()
		for _, args := range [][]string{
			{"cache", "verify", url}, {"cache", "verify", "--paths", url, cache}, {"cache", "verify", "--ledger=" + url, cache},
			{"cache", "repair", "--dry-run", url}, {"cache", "repair", "--output", url, cache}, {"cache", "rewrite", "-m", hashA + "=" + hashB, url},
			{"cache", "summary", url}, {"cache", "summary", "--against", url, url}, {"refs", url}, {"refs", "--format", "json", url},
			{"verify", url}, {"verify", "--format", "github", url}, {"verify", "--html", dir + "/html", url}, {"verify", "--report", dir + "/report", url},
			{"rewrite", "-m", hashA + "=" + hashB, url}, {"rewrite", "--map-file", url}, {"repair", "--in-place", url}, {"address", "--self", "/nix/store/" + hashA + "-x", url},
			{"store", "verify", url}, {"repair", "-o", url, filepath.Join(cache, "nix-cache-info")},
		} {
			status, stdout, stderr := narseal(t, nil, args...)
			all := stdout + stderr
			for _, name := range []string{"html", "report"} {
				if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
					all += string(b)
				}
			}
			if status == statusDone && !strings.HasPrefix(url, "http:") {
				t.Errorf("%q: status 0", args)
			}
			for _, secret := range secrets {
				if strings.Contains(all, secret) {
					t.Errorf("%q shows %q:\n%s", args, secret, all)
				}
			}
		}
	}
}
