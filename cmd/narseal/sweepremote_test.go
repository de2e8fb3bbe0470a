package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
)

// Everything of a sweep may lie behind a network: the cache, its list, the ledger and the overlay.
func TestSweepRemote(t *testing.T) {
	objects, list := staleCache(t, 6)
	secret, _, err := signature.GenerateKeypair("sweep-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(secret.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, start := range remoteCaches {
		t.Run(name, func(t *testing.T) {
			in, out := start(t), start(t)
			upload(t, openRemote(t, in.url), objects)
			upload(t, openRemote(t, in.url), map[string]string{"list": list})
			object := func(name string) string { // the URL of an object beside the input
				address, query, found := strings.Cut(in.url, "?")
				if found {
					query = "?" + query
				}
				return address + "/" + name + query
			}
			args := []string{"cache", "repair", "--overlay", "-o", out.url, "--secret-key-file", key, "--paths", object("list"), "--ledger", object("ledger.jsonl"), in.url}
			status, stdout, stderr := narseal(t, nil, args...)
			repaired := strings.Count(stdout, "\n")
			if status != 0 || repaired != 3 {
				t.Fatalf("status %d\n%s%s", status, stdout, stderr)
			}
			lines := in.objects()["ledger.jsonl"]
			overlay := out.objects()
			var infos []string
			for name := range overlay {
				if strings.HasSuffix(name, ".narinfo") {
					infos = append(infos, name)
				}
			}
			if strings.Count(lines, "\n") != 7 || len(infos) != repaired || !strings.Contains(overlay["public-keys.txt"], "sweep-1:") {
				t.Errorf("ledger:\n%soverlay: %q", lines, slices.Sorted(maps.Keys(overlay)))
			}
			if _, page := overlay["index.html"]; page != out.lists || !page && !strings.Contains(stderr, "index.html is not written") {
				t.Errorf("index.html: %v\n%s", page, stderr)
			}
			if status, stdout, stderr = narseal(t, nil, args...); status != 0 || stdout != "" || in.objects()["ledger.jsonl"] != lines {
				t.Errorf("again: status %d\n%s%s", status, stdout, stderr)
			}
			if status, stdout, stderr = narseal(t, nil, "cache", "summary", object("ledger.jsonl")); status != 0 || !strings.HasPrefix(stdout, "6 paths, 3 with invalid signatures") {
				t.Errorf("summary: status %d\n%s%s", status, stdout, stderr)
			}
		})
	}
}
