package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// A cache that hides a reference while the closure is searched, and shows it when the path is checked, does not get its
// broken dependency past cache verify --closure.
func TestClosureWithHiddenReferences(t *testing.T) {
	root, dep := strings.Repeat("1", 32), strings.Repeat("2", 32)
	data := nartest.Tree(nartest.File("x"))
	info := func(hash, name, url, refs string) string {
		return fmt.Sprintf("StorePath: /nix/store/%s-%s\nURL: nar/%s\nCompression: none\nNarHash: %s\nNarSize: %d\nReferences: %s\n",
			hash, name, url, cachetest.SHA256(data), len(data), refs)
	}
	full := info(root, "root", "a.nar", dep+"-dep")
	for name, answers := range map[string][]string{
		"honest":                 {full, full},
		"without the references": {info(root, "root", "a.nar", ""), full},
		"not there":              {"", full},
		"the other way round":    {full, info(root, "root", "a.nar", "")},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text := ""
				switch r.URL.Path {
				case "/nix-cache-info":
					text = "StoreDir: /nix/store\n"
				case "/" + root + ".narinfo":
					text = answers[min(int(asked.Add(1)), len(answers))-1]
				case "/" + dep + ".narinfo":
					text = info(dep, "dep", "b.nar", "")
				case "/nar/a.nar":
					text = string(data)
				case "/nar/b.nar":
					text = "damaged"
				}
				if text == "" {
					http.NotFound(w, r)
					return
				}
				fmt.Fprint(w, text)
			}))
			defer server.Close()
			for _, command := range []string{"verify", "repair --dry-run"} {
				asked.Store(0)
				args := append(append([]string{"cache"}, strings.Fields(command)...), "--closure", "--paths", "-", server.URL)
				status, _, stderr := narseal(t, []byte(root+"\n"), args...)
				if status != statusError || !strings.Contains(stderr, dep) {
					t.Errorf("%s: status %d, want 1 and a word about %s:\n%s", command, status, dep, stderr)
				}
			}
		})
	}
}
