package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// Who signs what a server sends is warned, unless its signatures are checked.
func TestUncheckedSignatures(t *testing.T) {
	dir := t.TempDir()
	secret, public := cachetest.Key(t)
	image := golden(t, "A/ents-arm64")
	image[200] ^= 1
	path := cachetest.Path{Base: hashA + "-x", NAR: nartest.Tree(nartest.Exec(image))}
	cachetest.Sign(t, &path, secret)
	if err := cachetest.Write(dir, path); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	const warning = "the signatures of the input are not checked"
	for _, c := range []struct {
		name  string
		args  []string
		input string
		warns bool
	}{
		{"unchecked", []string{"--secret-key-file", key}, server.URL, true},
		{"checked", []string{"--secret-key-file", key, "--trusted-public-keys", public}, server.URL, false},
		{"not signed", nil, server.URL, false},
		{"dry run", []string{"--secret-key-file", key, "--dry-run"}, server.URL, false},
		{"a directory", []string{"--secret-key-file", key}, dir, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"cache", "repair", "--paths", "-", "-o", filepath.Join(t.TempDir(), "out")}, c.args...)
			status, stdout, stderr := narseal(t, []byte(hashA), append(args, c.input)...)
			if status != statusDone || stdout == "" || strings.Contains(stderr, warning) != c.warns {
				t.Errorf("status %d, want a warning: %v\n%s%s", status, c.warns, stdout, stderr)
			}
		})
	}
}
