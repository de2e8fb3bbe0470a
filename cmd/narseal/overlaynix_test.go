package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"narseal/nar/nartest"
)

// An overlaidCache is a cache of two paths, and an overlay of it, each with a key of its own. The first path has invalid
// signatures, the other one refers to it.
type overlaidCache struct {
	images, user          string
	dir, overlay          string // directories
	key, overlayKey       string // public
	dirSecret, overSecret string // files
}

func newOverlaidCache(t *testing.T) *overlaidCache {
	t.Helper()
	s, dir := nartest.Nix(t), t.TempDir()
	c := &overlaidCache{
		images: "/nix/store/" + hashA + "-images", user: "/nix/store/" + otherHash + "-user",
		dir: filepath.Join(dir, "cache"), overlay: filepath.Join(dir, "overlay"),
		dirSecret: filepath.Join(dir, "cache-key"), overSecret: filepath.Join(dir, "overlay-key"),
	}
	newKey := func(name, file string) string {
		s.Run(nil, "nix-store", "--generate-binary-cache-key", name, file, file+".pub")
		public, err := os.ReadFile(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(public))
	}
	c.key, c.overlayKey = newKey("cache-1", c.dirSecret), newKey("overlay-1", c.overSecret)
	s.Run(exportOf([]closurePath{
		{path: c.images, tree: goldenTree(t, "A", true), refs: []string{c.images}},
		{path: c.user, tree: nartest.Dir{"to": nartest.Symlink(c.images)}, refs: []string{c.images}},
	}), "nix-store", "--import")
	// As cache.nixos.org says it. A file:// cache that names no priority comes before all others.
	writeFile(t, filepath.Join(c.dir, "nix-cache-info"), []byte("StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n"))
	s.Run(nil, "nix", "copy", "--to", "file://"+c.dir+"?compression=zstd&secret-key="+c.dirSecret, c.user)
	status, stdout, stderr := narseal(t, nil, "cache", "repair", "--overlay", "-o", c.overlay, "--secret-key-file", c.overSecret, c.dir)
	if status != 0 || stdout != c.images+"\n" {
		t.Fatalf("repair: status %d\n%s%s", status, stdout, stderr)
	}
	return c
}

// An overlayClient is a machine with an empty store.
type overlayClient struct {
	*nartest.Store
	t     *testing.T
	cache *overlaidCache
}

// realise has Nix substitute the path that refers to the other one, which takes that one too, and checks both.
func (c *overlayClient) realise(caches, keys []string) {
	c.t.Helper()
	c.Run(nil, "nix-store", append([]string{"--realise", c.cache.user}, optionsOf(caches, keys)...)...)
	c.verify(keys)
}

func optionsOf(caches, keys []string) []string {
	return []string{"--option", "substituters", strings.Join(caches, " "), "--option", "trusted-public-keys", strings.Join(keys, " "), "--option", "require-sigs", "true"}
}

// verify has Nix check the contents and the signatures of its store.
func (c *overlayClient) verify(keys []string) {
	c.t.Helper()
	c.Run(nil, "nix-store", "--verify", "--check-contents")
	c.Run(nil, "nix", append([]string{"store", "verify", "--all", "--sigs-needed", "1"}, optionsOf(nil, keys)...)...)
}

// has checks who has signed the path of the images, and whether the images are repaired.
func (c *overlayClient) has(keyName string, repaired bool) {
	c.t.Helper()
	sigs := string(c.Run(nil, "nix", "path-info", "--sigs", c.cache.images))
	if !strings.Contains(sigs, keyName+":") {
		c.t.Errorf("the path is signed by %q, want %s", sigs, keyName)
	}
	status, stdout, stderr := narseal(c.t, nil, "verify", c.Real(c.cache.images))
	if want := map[bool]int{true: 0, false: 3}[repaired]; status != want {
		c.t.Errorf("verify: status %d, want %d\n%s%s", status, want, stdout, stderr)
	}
}

// delete deletes both paths. Nix does not look for users of them, which it would among all processes of the machine.
func (c *overlayClient) delete() {
	c.t.Helper()
	c.Run(nil, "nix-store", "--delete", "--ignore-liveness", c.cache.user, c.cache.images)
}

// servedDirectory is a directory behind HTTP, and the NARs that were taken from it.
func servedDirectory(t *testing.T, dir string) (url string, nars func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	files := http.FileServer(http.Dir(dir))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := fs.Stat(os.DirFS(dir), strings.TrimPrefix(r.URL.Path, "/")); err == nil && r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/nar/") {
			mu.Lock()
			n++
			mu.Unlock()
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() int {
		mu.Lock()
		defer mu.Unlock()
		m := n
		n = 0
		return m
	}
}

// Nix takes the repaired path from the overlay and the other one from the cache, whichever is named first. What it has
// passes its own checks. Without the overlay, or without its key, it takes the original.
func TestOverlayForNix(t *testing.T) {
	nartest.Tool(t, "nix")
	nartest.EachNix(t, func(t *testing.T) {
		cache := newOverlaidCache(t)
		url, nars := servedDirectory(t, cache.dir)
		overlayURL, overlayNARs := servedDirectory(t, cache.overlay)
		for _, at := range []struct{ name, cache, overlay string }{
			{"http", url, overlayURL},
			{"file", "file://" + cache.dir, "file://" + cache.overlay},
		} {
			t.Run(at.name, func(t *testing.T) {
				c := &overlayClient{nartest.Nix(t), t, cache}
				taken := func(what string, wantCache, wantOverlay int) {
					t.Helper()
					if n, o := nars(), overlayNARs(); at.name == "http" && (n != wantCache || o != wantOverlay) {
						t.Errorf("%s: %d NARs from the cache and %d from the overlay, want %d and %d", what, n, o, wantCache, wantOverlay)
					}
				}
				only, both := []string{cache.key}, []string{cache.key, cache.overlayKey}
				for i, caches := range [][]string{{at.cache, at.overlay}, {at.overlay, at.cache}} {
					c.realise(caches, both)
					c.has("overlay-1", true)
					taken(fmt.Sprint("both ", i), 1, 1)
					c.delete()
				}
				c.realise([]string{at.cache, at.overlay}, only)
				c.has("cache-1", false)
				taken("without the key", 2, 0)

				// What is in the store stays, until Nix is told to replace it.
				c.realise([]string{at.cache, at.overlay}, both)
				c.has("cache-1", false)
				taken("again", 0, 0)
				c.Run(nil, "nix-store", append([]string{"--repair-path", cache.images}, optionsOf([]string{at.cache, at.overlay}, both)...)...)
				c.verify(both)
				c.has("overlay-1", true)
				taken("repair-path", 0, 1)

				checkByHand(t, cache, at.cache, at.overlay)
				_, _ = nars(), overlayNARs()

				// The overlay is removed. What was taken from it is deleted, and fetched from the cache.
				c.delete()
				c.realise([]string{at.cache}, only)
				c.has("cache-1", false)
				taken("removed", 2, 0)
			})
		}
	})
}

// checkByHand is what docs/overlay.md tells a user to do.
func checkByHand(t *testing.T, c *overlaidCache, cache, overlay string) {
	t.Helper()
	hash := []byte(hashA + "\n")
	if b, err := os.ReadFile(filepath.Join(c.overlay, "public-keys.txt")); string(b) != c.overlayKey+"\n" {
		t.Errorf("public-keys.txt: %q, %v, want %s", b, err, c.overlayKey)
	}
	for key, want := range map[string]int{c.overlayKey: 0, c.key: 1} {
		if status, stdout, stderr := narseal(t, hash, "cache", "verify", "--paths", "-", "--trusted-public-keys", key, overlay); status != want {
			t.Errorf("verify with the key %s: status %d, want %d\n%s%s", key, status, want, stdout, stderr)
		}
	}
	mine := filepath.Join(t.TempDir(), "mine")
	if status, stdout, stderr := narseal(t, hash, "cache", "repair", "--paths", "-", "--overlay", "-o", mine, cache); status != 0 {
		t.Errorf("repair: status %d\n%s%s", status, stdout, stderr)
	}
	var hashes []string
	for _, dir := range []string{mine, c.overlay} {
		b, err := os.ReadFile(filepath.Join(dir, hashA+".narinfo"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "\nNarHash: ")
		line, _, _ := strings.Cut(rest, "\n")
		hashes = append(hashes, line)
	}
	if hashes[0] == "" || hashes[0] != hashes[1] {
		t.Errorf("repaired by hand: %q", hashes)
	}
}

// Nix finds a content-addressed path by the realisation of the cache, and takes it from the overlay, which has none. A copy of
// the path by a list has the realisation, and is enough.
func TestContentAddressedOverlayForNix(t *testing.T) {
	nartest.Tool(t, "nix")
	nixes(t, func(t *testing.T, s *nixStore) {
		dir := t.TempDir()
		image := golden(t, "A/ents-arm64")
		image[200] ^= 1
		writeFile(t, dir+"/image", image)
		cat, err := exec.LookPath("cat")
		if err != nil {
			t.Fatal(err)
		}
		expr := dir + "/default.nix"
		writeFile(t, expr, fmt.Appendf(nil, `derivation { name = "ca"; system = builtins.currentSystem; builder = "/bin/sh";
			args = [ "-c" "%s %s/image >$out" ]; __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; }`, cat, dir))
		config := "build-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command ca-derivations\n"
		if !strings.HasPrefix(nartest.Version(t), "2.8.") {
			config += "build-hook =\n" // Nix 2.8 wants one, and the Nix of scripts/nix-versions cannot start it
		}
		s.set("NIX_CONFIG", config)
		var keys []string
		for _, name := range []string{"cache", "overlay"} {
			s.nix(nil, "nix-store", "--generate-binary-cache-key", name+"-1", dir+"/"+name+"-key", dir+"/"+name+"-public")
			public, err := os.ReadFile(dir + "/" + name + "-public")
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, strings.TrimSpace(string(public)))
		}
		path := strings.TrimSpace(s.nix(nil, "nix-build", "--no-out-link", expr))
		writeFile(t, dir+"/cache/nix-cache-info", []byte("StoreDir: "+s.dir+"\nWantMassQuery: 1\nPriority: 40\n"))
		s.nix(nil, "nix", "copy", "--to", "file://"+dir+"/cache?secret-key="+dir+"/cache-key", "--file", expr)
		change := func(args ...string) {
			t.Helper()
			stdout, _ := s.want(0, append([]string{"cache", "repair", "--secret-key-file", dir + "/overlay-key", "--paths", dir + "/list"}, args...)...)
			if stdout != path+"\n" {
				t.Errorf("%q: changed %q, want %s", args, stdout, path)
			}
		}
		writeFile(t, dir+"/list", []byte(path+"\n"))
		change("--overlay", "--output", dir+"/overlay", dir+"/cache")
		change("--output", dir+"/copy", dir+"/cache")
		for name, want := range map[string]int{"cache": 1, "overlay": 0, "copy": 1} {
			if got, err := filepath.Glob(dir + "/" + name + "/realisations/*.doi"); err != nil || len(got) != want {
				t.Fatalf("the %s has realisations %q, want %d", name, got, want)
			}
		}
		for _, caches := range []string{"file://" + dir + "/cache file://" + dir + "/overlay", "file://" + dir + "/copy"} {
			s.nix(nil, "nix-store", "--delete", "--ignore-liveness", path)
			got := s.nix(nil, "nix-build", "--no-out-link", expr, "--max-jobs", "0", "--option", "substituters", caches,
				"--option", "trusted-public-keys", strings.Join(keys, " "), "--option", "require-sigs", "true")
			if strings.TrimSpace(got) != path {
				t.Errorf("from %s: %q, want %s", caches, got, path)
			}
			s.want(0, "verify", path)
			s.nix(nil, "nix-store", "--verify", "--check-contents")
		}
	})
}
