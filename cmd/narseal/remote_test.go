package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// A remoteCache is an empty cache on a server of the loopback.
type remoteCache struct {
	host    string // that url names
	url     string
	lists   bool
	objects func() map[string]string // what it holds now
}

// remoteCaches starts a server of each kind.
var remoteCaches = map[string]func(t *testing.T) remoteCache{
	"s3": func(t *testing.T) remoteCache {
		s := cachetest.NewS3(t)
		return remoteCache{s.Host, s.URL("/pre/fix"), true, func() map[string]string { return objectFiles(t, filepath.Join(s.Dir, "cache", "pre", "fix")) }}
	},
	"http": func(t *testing.T) remoteCache {
		var s cachetest.WebStore
		server := httptest.NewServer(&s)
		t.Cleanup(server.Close)
		return remoteCache{server.Listener.Addr().String(), server.URL, false, s.Objects}
	},
	"nginx": func(t *testing.T) remoteCache {
		url, dir := cachetest.NewNginx(t)
		return remoteCache{strings.TrimPrefix(url, "http://"), url, false, func() map[string]string { return objectFiles(t, dir) }}
	},
}

// objectFiles are the files of a server's directory that are objects.
func objectFiles(t *testing.T, dir string) map[string]string {
	files := filesOf(t, dir)
	maps.DeleteFunc(files, func(name, _ string) bool { return strings.HasPrefix(name, ".") })
	return files
}

// openRemote opens a cache as the program does.
func openRemote(t *testing.T, url string) binarycache.Store {
	t.Helper()
	c, err := cachestore.Open(t.Context(), url, cachestore.Options{Netrc: os.DevNull, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c.Store
}

// upload writes objects into a cache.
func upload(t *testing.T, s binarycache.Store, objects map[string]string) {
	t.Helper()
	for name, content := range objects {
		o := binarycache.Object{Name: name, Size: int64(len(content))}
		if _, err := s.Put(context.Background(), o, strings.NewReader(content), binarycache.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
}

// staleCache is a cache of n paths, of which every other one has an image with a stale signature. A path refers to the
// one before it.
func staleCache(t *testing.T, n int) (objects map[string]string, list string) {
	t.Helper()
	image := golden(t, "A/ents-arm64")
	image[200] ^= 1
	var paths []cachetest.Path
	before := ""
	for i := range n {
		base := fmt.Sprintf("%s%06d-p%d", strings.Repeat("0", 26), i, i)
		tree := nartest.Dir{"text": nartest.File(base)}
		if i%2 == 0 {
			tree["image"] = nartest.Exec(image)
		}
		p := cachetest.Path{Base: base, NAR: nartest.Tree(tree), Compression: []compression.Type{compression.Zstd, compression.Xz, compression.None}[i%3]}
		if before != "" {
			p.References = []string{before}
		}
		before = base
		list += base[:32] + "\n"
		paths = append(paths, p)
	}
	objects, err := cachetest.Objects(paths...)
	if err != nil {
		t.Fatal(err)
	}
	return objects, list
}

// testKey is a secret key's file, and the public key.
func testKey(t *testing.T) (file, public string) {
	t.Helper()
	secret, key := cachetest.Key(t)
	file = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, key
}

// What a cache on a server becomes is what a directory becomes, object by object.
func TestRemoteRepair(t *testing.T) {
	objects, list := staleCache(t, 9)
	key, public := testKey(t)
	dir := t.TempDir()
	upload(t, openRemote(t, dir), objects)
	if status, _, stderr := narseal(t, nil, "cache", "repair", "--secret-key-file", key, dir); status != 0 {
		t.Fatalf("status %d\n%s", status, stderr)
	}
	want := filesOf(t, dir)
	for name, start := range remoteCaches {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			upload(t, openRemote(t, c.url), objects)
			run := func(want int, args ...string) string {
				t.Helper()
				args = append([]string{"cache"}, args...)
				if !c.lists {
					args = append(args, "--paths", "-")
				}
				status, stdout, stderr := narseal(t, []byte(list), append(args, c.url)...)
				if status != want {
					t.Errorf("%q: status %d\n%s%s", args, status, stdout, stderr)
				}
				return stderr
			}
			run(3, "verify")
			run(0, "repair", "-n", "--secret-key-file", key)
			if got := c.objects(); !maps.Equal(got, objects) {
				t.Error("a dry run has changed something")
			}
			stderr := run(0, "repair", "--secret-key-file", key, "-j", "3")
			if warned := strings.Contains(stderr, "ignores If-None-Match"); warned != (name == "nginx") {
				t.Errorf("warnings: %s", stderr)
			}
			if got := c.objects(); !maps.Equal(got, want) {
				t.Errorf("got %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
			run(0, "verify")
			run(0, "repair", "--secret-key-file", key)
			if got := c.objects(); !maps.Equal(got, want) {
				t.Error("the second run has changed something")
			}

			// Into another cache, from which Nix would take what has changed.
			out := t.TempDir()
			run(0, "rewrite", "-m", hashA+"="+hashB, "--secret-key-file", key, "-o", out)
			if got := filesOf(t, out); len(got) != 1+2*9 {
				t.Errorf("copied: %q", slices.Sorted(maps.Keys(got)))
			}
			if status, stdout, stderr := narseal(t, []byte("00000000000000000000000000000000"), "cache", "verify", "--trusted-public-keys", public, "--paths", "-", out); status != 0 {
				t.Errorf("status %d\n%s%s", status, stdout, stderr)
			}
		})
	}
}

// A cache that cannot be listed is wrong usage without a list of paths.
func TestRemoteNoListing(t *testing.T) {
	c := remoteCaches["http"](t)
	objects, _ := staleCache(t, 1)
	upload(t, openRemote(t, c.url), objects)
	status, _, stderr := narseal(t, nil, "cache", "verify", c.url)
	if status != 2 || !strings.Contains(stderr, "has no listing") || !strings.Contains(stderr, "--paths") {
		t.Errorf("status %d\n%s", status, stderr)
	}
	status, _, stderr = narseal(t, nil, "refs", c.url)
	if status != 2 || !strings.Contains(stderr, "has no listing") {
		t.Errorf("status %d\n%s", status, stderr)
	}
}

// refs reads the archives of a cache on a server as those of a directory.
func TestRemoteRefs(t *testing.T) {
	c := remoteCaches["s3"](t)
	text := nartest.Tree(nartest.File("/nix/store/" + hashA + "-x and /nix/store/" + hashB + "-y"))
	objects, err := cachetest.Objects(cachetest.Path{Base: otherHash + "-a", NAR: text})
	if err != nil {
		t.Fatal(err)
	}
	upload(t, openRemote(t, c.url), objects)
	dir := t.TempDir()
	upload(t, openRemote(t, dir), objects)
	_, want, _ := narseal(t, nil, "refs", dir)
	status, stdout, stderr := narseal(t, nil, "refs", c.url)
	if status != 0 || !strings.Contains(stdout, hashA+"-x") || strings.Count(stdout, "\n") != strings.Count(want, "\n") {
		t.Errorf("status %d\n%swant\n%s%s", status, stdout, want, stderr)
	}
	if status, _, _ := narseal(t, nil, "refs", "--deny", hashB, c.url); status != 3 {
		t.Errorf("deny: status %d", status)
	}
}

// Nothing that a user gives in confidence shows up in what is printed or written.
func TestRemoteSecrets(t *testing.T) {
	var s cachetest.WebStore
	server := httptest.NewServer(&s)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	report := filepath.Join(t.TempDir(), "report")
	for _, url := range []string{
		"http://user:hunter2@" + host + "/none?X-Amz-Signature=hunter2",
		"http://user:hunter2@127.0.0.1:1/none?sig=hunter2",
		"https://user:hunter2@" + host + "/none?sig=hunter2",
		"http://user:hunter2@%zz/",
		"s3://bucket?endpoint=http://user:hunter2@" + host,
		"gopher://user:hunter2@" + host,
	} {
		status, stdout, stderr := narseal(t, []byte(hashA), "cache", "verify", "--paths", "-", "-v", "--report", report, url)
		written, _ := os.ReadFile(report)
		if status == 0 || status == 3 || strings.Contains(stdout+stderr+string(written), "hunter2") {
			t.Errorf("%s: status %d\n%s%s%s", url, status, stdout, stderr, written)
		}
		t.Logf("%s", stderr)
	}

	// Other commands and options that take a URL, whatever the server says.
	lists := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "none") {
			w.WriteHeader(http.StatusNotFound)
		}
		io.WriteString(w, "neither a path nor a ledger\n")
	}))
	defer lists.Close()
	dir := t.TempDir()
	host = strings.TrimPrefix(lists.URL, "http://")
	for _, url := range []string{
		"http://user:hunter2@" + host + "/l/list", "http://user:hunter2@" + host + "/l/list?token=hunter2", "http://user:hunter2@" + host + "/l/none?token=hunter2",
		"http://user:hunter2@" + host + "/l/%zz", "http://user:hunter2@127.0.0.1:1/l/list", "http://user:hunter2/hunter2@" + host + "/l/list",
		"http://user:hunter2?hunter2@" + host + "/l/list", "http://user:hunter2#hunter2@" + host + "/l/list", "ftp://user:hunter2@" + host + "/l/list",
		"s3://user:hunter2@b/l/list", "s3://user:hunter2/hunter2@b/l/list", "s3://b/l/list?endpoint=http://user:hunter2@" + host, "s3://b/l?secret=hunter2",
		"file://user:hunter2@" + host + "/l",
	} {
		for _, args := range [][]string{
			{"cache", "verify", "--paths", url, dir}, {"cache", "verify", "--ledger", url, "--paths", "-", url}, {"cache", "repair", url},
			{"cache", "repair", "--output", url, dir}, {"cache", "repair", "--overlay", "--output", dir, "--dry-run", url}, {"cache", "summary", url},
			{"cache", "summary", "--against", url, "-"}, {"cache", "rewrite", "--map", hashA + "=" + hashB, url}, {"refs", url},
			{"verify", url}, {"repair", url}, {"repair", "--in-place", url}, {"rewrite", "--map", hashA + "=" + hashB, url}, {"address", url},
		} {
			status, stdout, stderr := narseal(t, nil, args...)
			if status == 0 || strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("%s: status %d\n%s%s", args, status, stdout, stderr)
			}
		}
	}
}

// A fifth of the requests go wrong in every way, and nothing is lost or torn.
func TestRemoteFaults(t *testing.T) {
	const paths = 12
	objects, list := staleCache(t, paths)
	large := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{}).Read(large)
	more, err := cachetest.Objects(cachetest.Path{Base: strings.Repeat("1", 32) + "-large", NAR: nartest.Tree(nartest.File(large)), Compression: compression.None})
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(objects, more)
	list += strings.Repeat("1", 32) + "\n"
	key, _ := testKey(t)
	dir := t.TempDir()
	upload(t, openRemote(t, dir), objects)
	if status, _, stderr := narseal(t, nil, "cache", "repair", "--secret-key-file", key, dir); status != 0 {
		t.Fatalf("status %d\n%s", status, stderr)
	}
	want := filesOf(t, dir)
	for name, start := range remoteCaches {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			upload(t, openRemote(t, c.url), objects)
			proxy := cachetest.NewFaulty(t, c.host, 0.2, 1)
			url := strings.Replace(c.url, c.host, proxy.Host, 1)
			run := func(want int, args ...string) {
				t.Helper()
				args = append([]string{"cache"}, args...)
				if !c.lists {
					args = append(args, "--paths", "-")
				}
				status, stdout, stderr := narseal(t, []byte(list), append(args, url)...)
				if status != want {
					t.Errorf("%q: status %d\n%s%s", args, status, stdout, stderr)
				}
			}
			run(3, "verify", "-j", "4")
			run(0, "repair", "--secret-key-file", key, "-j", "4")
			if got := c.objects(); !maps.Equal(got, want) {
				t.Errorf("got %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
			out := t.TempDir()
			run(0, "repair", "-o", out, "-j", "4")
			if got := filesOf(t, out); len(got) != 1+2*(paths+1) {
				t.Errorf("copied: %q", slices.Sorted(maps.Keys(got)))
			}
			t.Logf("%v", proxy.Faults())
			if n := proxy.Faults(); n["lost answer"] == 0 || n["half an answer"] == 0 {
				t.Errorf("too few requests to go wrong: %v", n)
			}
		})
	}
}
