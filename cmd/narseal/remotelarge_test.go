package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// A large NAR is verified, repaired and copied in little memory. NARSEAL_REMOTE_LARGE is its size in MiB.
func TestRemoteLargeInLittleMemory(t *testing.T) {
	size := 120 // more than what is sent in one request
	if s := os.Getenv("NARSEAL_REMOTE_LARGE"); s != "" {
		var err error
		if size, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	large := make([]byte, size<<20)
	rand.NewChaCha8([32]byte{}).Read(large)
	image := golden(t, "A/ents-arm64")
	image[200] ^= 1
	base := strings.Repeat("1", 32) + "-large"
	objects, err := cachetest.Objects(cachetest.Path{Base: base, Compression: compression.None,
		NAR: nartest.Tree(nartest.Dir{"image": nartest.Exec(image), "large": nartest.File(large)})})
	if err != nil {
		t.Fatal(err)
	}
	large = nil
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte(base), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"s3", "nginx"} {
		t.Run(name, func(t *testing.T) {
			c, out := remoteCaches[name](t), remoteCaches[name](t)
			upload(t, openRemote(t, c.url), objects)
			for _, args := range [][]string{
				{"verify"}, {"repair", "-o", out.url}, {"repair", "-j", "1"}, {"verify"},
			} {
				args = append(append([]string{"cache"}, args...), "--paths", list, c.url)
				want := 0
				if args[1] == "verify" && c.objects()[base[:32]+".narinfo"] == objects[base[:32]+".narinfo"] {
					want = 3
				}
				if status, stderr := bounded(t, nil, nil, args...); status != want {
					t.Errorf("%q: status %d\n%s", args, status, stderr)
				}
			}
			for _, url := range []string{c.url, out.url} {
				o := binarycache.VerifyOptions{Options: binarycache.Options{Hashes: func(yield func(string, error) bool) { yield(base[:32], nil) }}}
				if s, err := binarycache.Verify(t.Context(), openRemote(t, url), o); err != nil || s.Paths[binarycache.Verified] != 1 {
					t.Errorf("%v, %v", s, err)
				}
			}
		})
	}
}
