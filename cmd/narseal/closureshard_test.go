package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// Each shard searches the closure for itself, and so does a run with --since. A cache that hides a reference from such a
// search, in the narinfo of a path on which only another run works, does not get its broken dependency past all of them: the
// signature of that narinfo is checked, and that it is missing is said, or refused if it is there later.
func TestClosureOfSomePaths(t *testing.T) {
	dep, root := strings.Repeat("1", 32), strings.Repeat("z", 32) // in shard 0/2 and 1/2
	data := nartest.Tree(nartest.File("x"))
	secret, public := cachetest.Key(t)
	key, err := signature.LoadSecretKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	info := func(hash, name, refs string) string {
		fingerprint := fmt.Sprintf("1;/nix/store/%s-%s;%s;%d;", hash, name, cachetest.SHA256(data), len(data))
		if refs != "" {
			fingerprint += "/nix/store/" + refs
		}
		sig, err := key.Sign(nil, fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("StorePath: /nix/store/%s-%s\nURL: nar/%s.nar\nCompression: none\nNarHash: %s\nNarSize: %d\nReferences: %s\nSig: %s\n",
			hash, name, name, cachetest.SHA256(data), len(data), refs, sig)
	}
	full := info(root, "root", dep+"-dep")
	hidden := strings.Replace(full, "References: "+dep+"-dep", "References: ", 1)
	for _, c := range []struct {
		name   string
		root   string // its narinfo, as the run gets it first; "": missing
		later  string // and then
		args   []string
		status int
		says   string
	}{
		{"honest, shard", full, full, []string{"--shard", "0/2"}, statusError, "-dep: nar: read"},
		{"hidden, shard", hidden, hidden, []string{"--shard", "0/2"}, statusError, "closure: /nix/store/" + root + "-root: not signed by a trusted key"},
		{"damaged, shard", "x", "x", []string{"--shard", "0/2"}, statusError, "closure: " + root},
		{"missing once, shard", "", full, []string{"--shard", "0/2"}, statusError, "closure: the cache did not have " + root + " when it was asked first"},
		{"missing, shard", "", "", []string{"--shard", "0/2"}, statusDone, "the cache does not have 1 path of the closure on which this run does not work"},
		{"honest, other shard", full, full, []string{"--shard", "1/2"}, statusDone, ""},
		{"missing, the shard's own", "", "", []string{"--shard", "1/2"}, statusDone, "the cache does not have 1 path of --paths"},
		{"honest, since", full, full, []string{"--since", "2026-01-01T00:00:00Z"}, statusError, "-dep: nar: read"},
		{"hidden, since", hidden, hidden, []string{"--since", "2026-01-01T00:00:00Z"}, statusError, "not signed by a trusted key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text, at := "", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
				switch r.URL.Path {
				case "/nix-cache-info":
					text = "StoreDir: /nix/store\n"
				case "/" + root + ".narinfo":
					text, at = c.root, time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
					if r.Method == http.MethodGet && asked.Add(1) > 1 || r.Method == http.MethodHead && asked.Load() > 0 {
						text = c.later
					}
				case "/" + dep + ".narinfo":
					text = info(dep, "dep", "")
				case "/nar/root.nar":
					text = string(data)
				case "/nar/dep.nar":
					text = "damaged"
				}
				if text == "" {
					http.NotFound(w, r)
					return
				}
				w.Header().Set("Last-Modified", at.Format(http.TimeFormat))
				fmt.Fprint(w, text)
			}))
			defer server.Close()
			args := append([]string{"cache", "verify", "--closure", "--trusted-public-keys", public, "--paths", "-"}, c.args...)
			status, _, stderr := narseal(t, []byte(root+"\n"), append(args, server.URL)...)
			if status != c.status || !strings.Contains(stderr, c.says) || c.says == "" && stderr != "" {
				t.Errorf("status %d, want %d and %q:\n%s", status, c.status, c.says, stderr)
			}
		})
	}
}
