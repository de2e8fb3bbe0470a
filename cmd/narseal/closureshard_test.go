package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// Each shard searches the closure for itself, and so does a run with --since. A cache that hides a reference from such a
// search, in the narinfo of a path on which only another run works, does not get its broken dependency past all of them: that
// narinfo must be there and, with trusted keys, signed, or the run fails and its report names the path.
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
		{"hidden, shard", hidden, hidden, []string{"--shard", "0/2"}, statusError, root + ": not signed by a trusted key"},
		{"damaged, shard", "x", "x", []string{"--shard", "0/2"}, statusError, root + ".narinfo: line 1"},
		{"too long, shard", "X: " + strings.Repeat("x", 1<<20), "", []string{"--shard", "0/2"}, statusError, root + ".narinfo: too long"},
		{"refused, shard", "forbidden", "forbidden", []string{"--shard", "0/2"}, statusError, root + ".narinfo: 400 Bad Request"},
		{"refused, the shard's own", "forbidden", "forbidden", []string{"--shard", "1/2"}, statusError, root + ".narinfo: 400 Bad Request"},
		{"missing once, shard", "", full, []string{"--shard", "0/2"}, statusError, root + ": the cache does not have it"},
		{"missing, shard", "", "", []string{"--shard", "0/2"}, statusError, root + ": the cache does not have it"},
		{"honest, other shard", full, full, []string{"--shard", "1/2"}, statusDone, ""},
		{"missing, the shard's own", "", "", []string{"--shard", "1/2"}, statusDone, "the cache does not have 1 path of --paths"},
		{"missing, all", "", "", nil, statusDone, "the cache does not have 1 path of --paths"},
		{"honest, since", full, full, []string{"--since", "2026-01-01T00:00:00Z"}, statusError, "-dep: nar: read"},
		{"hidden, since", hidden, hidden, []string{"--since", "2026-01-01T00:00:00Z"}, statusError, "not signed by a trusted key"},
		{"missing, since", "", "", []string{"--since", "2026-01-01T00:00:00Z"}, statusDone, "the cache does not have 1 path of --paths"},
		{"missing when read, since", "", "", []string{"--since", "2026-01-01T00:00:00Z", "--verbose"}, statusError, root + ": the cache does not have it"},
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
					switch {
					case r.Method == http.MethodHead && strings.HasPrefix(c.name, "missing when read"):
						text = full // which is old: nothing is read again
					case r.Method == http.MethodGet && asked.Add(1) > 1 || r.Method == http.MethodHead && asked.Load() > 0:
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
				if text == "forbidden" {
					http.Error(w, "no", http.StatusBadRequest)
					return
				}
				w.Header().Set("Last-Modified", at.Format(http.TimeFormat))
				fmt.Fprint(w, text)
			}))
			defer server.Close()
			for _, command := range []string{"verify", "repair --dry-run"} {
				asked.Store(0)
				file := filepath.Join(t.TempDir(), "report")
				args := append([]string{"cache"}, strings.Fields(command)...)
				args = append(args, "--closure", "--trusted-public-keys", public, "--report", file, "--paths", "-")
				status, _, stderr := narseal(t, []byte(root+"\n"), append(append(args, c.args...), server.URL)...)
				if status != c.status || !strings.Contains(stderr, c.says) || c.says == "" && stderr != "" {
					t.Errorf("%s: status %d, want %d and %q:\n%s", command, status, c.status, c.says, stderr)
				}
				b, err := os.ReadFile(file)
				if isClosure := strings.Contains(stderr, "error: closure: "); err != nil || isClosure && !strings.Contains(string(b), c.says) {
					t.Errorf("%s: the report lacks %q: %v\n%s", command, c.says, err, b)
				}
			}
		})
	}
}

// A path that the user or a rule leaves out is not processed, but it may refer to paths that are: its narinfo must be signed.
func TestClosureWithExcluded(t *testing.T) {
	dep, left, root := strings.Repeat("1", 32), strings.Repeat("y", 32), strings.Repeat("z", 32)
	secret, public := cachetest.Key(t)
	paths := []cachetest.Path{
		{Base: dep + "-dep", NAR: nartest.Tree(nartest.File("x"))},
		{Base: left + "-left", NAR: nartest.Tree(nartest.File("y")), References: []string{dep + "-dep"}},
		{Base: root + "-root", NAR: nartest.Tree(nartest.File("z")), References: []string{left + "-left"}},
	}
	for i := range paths {
		cachetest.Sign(t, &paths[i], secret)
	}
	honest, err := cachetest.Objects(paths...)
	if err != nil {
		t.Fatal(err)
	}
	name := left + ".narinfo"
	for what, c := range map[string]struct {
		text   string // of the narinfo
		status int
		says   string
	}{
		"honest":  {honest[name], statusDone, ""},
		"hides":   {strings.Replace(honest[name], "References: "+dep+"-dep", "References: ", 1), statusError, left + ": not signed by a trusted key"},
		"damaged": {"x", statusError, name + ": line 1"},
		"missing": {"", statusDone, ""},
	} {
		for _, args := range [][]string{{"--exclude", left, "-m", dep + "-dep=" + dep + "-pot"}, {"-m", left + "-left=" + left + "-felt"}} {
			objects := maps.Clone(honest)
			if objects[name] = c.text; c.text == "" {
				delete(objects, name)
			}
			dir := filepath.Join(t.TempDir(), "cache")
			for name, text := range objects {
				file := filepath.Join(dir, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			status, stdout, stderr := narseal(t, []byte(root+"\n"), append(append([]string{"cache", "rewrite", "--dry-run", "-q", "--closure", "--paths", "-",
				"--trusted-public-keys", public}, args...), dir)...)
			if status != c.status || !strings.Contains(stderr, c.says) || c.says == "" && stderr != "" {
				t.Errorf("%s, %q: status %d, want %d and %q\n%s%s", what, args, status, c.status, c.says, stdout, stderr)
			}
		}
	}
}

// Without trusted keys, no shard can know that a cache has hidden a reference from it. What each shard has found is in its
// report and its ledger, and cache summary fails if that is not the same.
func TestClosuresOfShards(t *testing.T) {
	dep, root := strings.Repeat("1", 32), strings.Repeat("z", 32) // in shard 0/2 and 1/2
	data := nartest.Tree(nartest.File("x"))
	objects, err := cachetest.Objects(cachetest.Path{Base: dep + "-dep", NAR: data}, cachetest.Path{Base: root + "-root", NAR: data, References: []string{dep + "-dep"}})
	if err != nil {
		t.Fatal(err)
	}
	const hides, lacks, honest = "hides the reference", "lacks the path", "is honest"
	const long, closed = "has a narinfo that is too long", "has no nix-cache-info"
	var now string // what the cache does
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := objects[strings.TrimPrefix(r.URL.Path, "/")]
		isRoot := r.URL.Path == "/"+root+".narinfo"
		if isRoot && now == hides {
			text = strings.Replace(text, "References: "+dep+"-dep", "References: ", 1)
		}
		if isRoot && now == long {
			text += "X: " + strings.Repeat("x", 1<<20)
		}
		if text == "" || isRoot && now == lacks || r.URL.Path == "/nix-cache-info" && now == closed {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, text)
	}))
	defer server.Close()
	dir := t.TempDir()
	ledger := func(i int) string { return filepath.Join(dir, fmt.Sprintf("ledger-%d", i)) }
	shard := func(i, want int) string {
		t.Helper()
		report := filepath.Join(dir, "report")
		status, stdout, stderr := narseal(t, []byte(root+"\n"), "cache", "verify", "--closure", "--paths", "-", "--shard", fmt.Sprintf("%d/2", i),
			"--ledger", ledger(i), "--report", report, server.URL)
		if status != want {
			t.Errorf("shard %d, the cache %s: status %d, want %d\n%s%s", i, now, status, want, stdout, stderr)
		}
		b, err := os.ReadFile(report)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(b)), "")
	}
	summary := func(want int, says string) {
		t.Helper()
		status, stdout, stderr := narseal(t, nil, "cache", "summary", ledger(0), ledger(1))
		if status != want || !strings.Contains(stdout+stderr, says) {
			t.Errorf("the cache %s: status %d, want %d and %q\n%s%s", now, status, want, says, stdout, stderr)
		}
	}
	now = honest
	whole := shard(1, statusDone)
	now = hides
	if part := shard(0, statusDone); !strings.Contains(part, `"closure":{"paths":1,`) || !strings.Contains(whole, `"closure":{"paths":2,`) {
		t.Errorf("reports:\n%s\n%s", whole, part)
	}
	summary(statusError, "0/2 found 1 path, 1/2 found 2 paths")
	now = lacks
	shard(0, statusDone)
	summary(statusError, "0/2 found 1 path, 1/2 found 2 paths")
	shard(1, statusDone)
	summary(statusDone, "closure of 1 path\n")
	now = honest
	shard(1, statusDone)
	summary(statusError, "0/2 found 1 path, 1/2 found 2 paths")
	now = honest
	shard(0, statusDone)
	summary(statusDone, "closure of 2 paths\n")
	now = long
	shard(0, statusError)
	summary(statusError, "shard 0/2 does not know what "+root+" refers to")
	now = closed // the run fails before it has found anything
	shard(0, statusError)
	summary(statusError, "shard 0/2 has begun and not finished")
	now = honest
	shard(0, statusDone)
	summary(statusDone, "closure of 2 paths\n")
}

// If the searches of all shards miss the same reference, they have found the same. The shard that works on the path has to say
// in its ledger that there is more.
func TestClosureMissedByAll(t *testing.T) {
	dep, first, root := strings.Repeat("1", 32), strings.Repeat("y", 32), strings.Repeat("z", 32) // in shard 0/2, 1/2 and 1/2
	data := nartest.Tree(nartest.File("x"))
	objects, err := cachetest.Objects(cachetest.Path{Base: dep + "-dep", NAR: data}, cachetest.Path{Base: first + "-first", NAR: nartest.Tree(nartest.File("first"))},
		cachetest.Path{Base: root + "-root", NAR: data, References: []string{dep + "-dep"}})
	if err != nil {
		t.Fatal(err)
	}
	nar := regexp.MustCompile(`URL: (.*)`).FindStringSubmatch(objects[first+".narinfo"])[1]
	var searched chan struct{} // closed when the search has read the narinfo of root
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		text := objects[name]
		switch name {
		case nar:
			<-searched // until then, the only worker is busy
		case root + ".narinfo":
			select {
			case <-searched:
			default:
				text = strings.Replace(text, "References: "+dep+"-dep", "References: ", 1)
				defer close(searched)
			}
		}
		fmt.Fprint(w, text)
	}))
	defer server.Close()
	var ledgers []string
	for i, want := range []int{statusDone, statusError} {
		searched = make(chan struct{})
		ledgers = append(ledgers, filepath.Join(t.TempDir(), "ledger"))
		status, stdout, stderr := narseal(t, []byte(first+"\n"+root+"\n"), "cache", "verify", "-j", "1", "--closure", "--paths", "-",
			"--shard", fmt.Sprintf("%d/2", i), "--ledger", ledgers[i], server.URL)
		if status != want || want == statusError && !strings.Contains(stderr, "such as "+dep+", were not checked") {
			t.Errorf("shard %d: status %d, want %d\n%s%s", i, status, want, stdout, stderr)
		}
	}
	status, stdout, stderr := narseal(t, nil, append([]string{"cache", "summary"}, ledgers...)...)
	if status != statusError || !strings.Contains(stderr, "shard 1/2 does not know what "+dep+" refers to") || strings.Contains(stderr, "different") {
		t.Errorf("summary: status %d\n%s%s", status, stdout, stderr)
	}
}
