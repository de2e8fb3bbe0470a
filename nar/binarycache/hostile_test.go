package binarycache_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/nix-community/go-nix/pkg/nixbase32"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
	"narseal/nar/compression"
)

// A hooked store calls functions before or after an operation on the store below.
type hooked struct {
	binarycache.Store
	open func(name string)
	stat func(name string)
	list func(dir string, listed int) // after each object, and with -1 after the last
	put  func(name string)
}

func (h *hooked) Open(ctx context.Context, name string) (io.ReadCloser, binarycache.Object, error) {
	if h.open != nil {
		h.open(name)
	}
	return h.Store.Open(ctx, name)
}

func (h *hooked) Stat(ctx context.Context, name string) (binarycache.Object, error) {
	if h.stat != nil {
		h.stat(name)
	}
	return h.Store.Stat(ctx, name)
}

func (h *hooked) List(ctx context.Context, dir string) iter.Seq2[binarycache.Object, error] {
	return func(yield func(binarycache.Object, error) bool) {
		n := 0
		for o, err := range h.Store.List(ctx, dir) {
			if !yield(o, err) {
				return
			}
			if n++; h.list != nil {
				h.list(dir, n)
			}
		}
		if h.list != nil {
			h.list(dir, -1)
		}
	}
}

func (h *hooked) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if h.put != nil {
		h.put(o.Name)
	}
	return h.Store.Put(ctx, o, body, c)
}

// set puts objects into a store, whatever is there.
func set(t testing.TB, s binarycache.Store, objects map[string]string) {
	t.Helper()
	for _, last := range []bool{false, true} {
		for name, content := range objects {
			if strings.HasSuffix(name, ".narinfo") != last {
				continue
			}
			if _, err := s.Put(t.Context(), binarycache.Object{Name: name, Size: int64(len(content))}, strings.NewReader(content), binarycache.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func objects(t testing.TB, members ...member) map[string]string {
	t.Helper()
	o, err := cachetest.Objects(paths(members)...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// everyStore calls f with a cache in a directory and one in memory.
func everyStore(t *testing.T, members []member, f func(t *testing.T, s binarycache.Store)) {
	t.Run("directory", func(t *testing.T) { f(t, folder.New(newCache(t, members...))) })
	t.Run("memory", func(t *testing.T) { f(t, memoryCache(t, members...)) })
}

// textOf is the NAR of a path as its narinfo names it.
func textOf(t testing.TB, s binarycache.Store, hash string) string {
	t.Helper()
	get := func(name string) []byte {
		r, _, err := s.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	info := get(hash + ".narinfo")
	r, _, err := compression.Decompress(bytes.NewReader(get(line(string(info), "URL"))))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || sha(b) != line(string(info), "NarHash") {
		t.Fatalf("%s: %v\n%s", hash, err, info)
	}
	return string(b)
}

// A narinfo that somebody else replaces is read again, and not overwritten.
func TestNarinfoReplacedMeanwhile(t *testing.T) {
	base := hash("a") + "-a"
	for _, times := range []int{1, 3, 100} {
		everyStore(t, []member{{base: base, nar: nar("broken 0")}}, func(t *testing.T, s binarycache.Store) {
			replaced := 0
			h := &hooked{Store: s, put: func(name string) {
				if replaced < times && strings.HasSuffix(name, ".narinfo") {
					replaced++
					set(t, s, objects(t, member{base: base, nar: nar(fmt.Sprint("broken ", replaced))}))
				}
			}}
			var o binarycache.RewriteOptions
			repairing(&o)
			var failed error
			o.Done = func(r binarycache.Result) { failed = r.Err }
			sum, err := binarycache.Rewrite(t.Context(), h, o)
			if err != nil {
				t.Fatal(err)
			}
			if times == 100 {
				if statuses(sum) != "failed=1" || !errors.Is(failed, binarycache.ErrChanged) {
					t.Errorf("%s, %v", statuses(sum), failed)
				}
				if got := textOf(t, s, hash("a")); got != string(nar(fmt.Sprint("broken ", replaced))) {
					t.Errorf("got %q after %d", got, replaced)
				}
				return
			}
			if got, want := textOf(t, s, hash("a")), string(nar(fmt.Sprint("sealed ", times))); statuses(sum) != "changed=1" || got != want {
				t.Errorf("%d times: %s, got %q, want %q", times, statuses(sum), got, want)
			}
		})
	}
}

// While runs go on, a writer publishes new narinfos: the last of each path is there at the end, repaired or not, and
// with --prune its NAR, too.
func TestWriterMeanwhile(t *testing.T) {
	const paths = 4
	version := func(i, n int) member {
		return member{base: hash(strconv.Itoa(i)) + "-x", nar: nar(fmt.Sprintf("broken %d", n)), compression: compression.None}
	}
	var first []member
	for i := range paths {
		first = append(first, version(i, 0))
	}
	everyStore(t, first, func(t *testing.T, s binarycache.Store) {
		var o binarycache.RewriteOptions
		repairing(&o)
		o.Jobs, o.Prune = 2, true
		o.Done = func(r binarycache.Result) {
			if r.Err != nil && !errors.Is(r.Err, binarycache.ErrChanged) {
				t.Errorf("%s: %v", r.Info, r.Err)
			}
		}
		last := make([]int, paths)
		var wg sync.WaitGroup
		var stop atomic.Bool
		wg.Go(func() {
			for n := 1; !stop.Load(); n++ {
				i := n % paths
				set(t, s, objects(t, version(i, n)))
				last[i] = n
				time.Sleep(time.Millisecond)
			}
		})
		for range 30 {
			if _, err := binarycache.Rewrite(t.Context(), s, o); err != nil {
				t.Error(err)
			}
		}
		stop.Store(true)
		wg.Wait()
		if _, err := binarycache.Rewrite(t.Context(), s, o); err != nil {
			t.Error(err)
		}
		for i, n := range last {
			if got, want := textOf(t, s, hash(strconv.Itoa(i))), string(nar(fmt.Sprintf("sealed %d", n))); got != want {
				t.Errorf("path %d: got %q, want %q", i, got, want)
			}
		}
	})
}

// What is published while a run prunes keeps its NAR, as does what a debuginfo names.
func TestPruneChecksAgain(t *testing.T) {
	old := member{base: hash("a") + "-a", nar: nar("broken")}
	url := line(objects(t, old)[hash("a")+".narinfo"], "URL")
	late := objects(t, member{base: hash("b") + "-b", nar: nar("broken")})
	for name, c := range map[string]struct {
		add    map[string]string // by somebody else, before the NAR is deleted
		pruned bool
		want   string // in the error
	}{
		"nothing":            {nil, true, ""},
		"another narinfo":    {map[string]string{hash("b") + ".narinfo": late[hash("b")+".narinfo"]}, false, ""},
		"bad narinfo":        {map[string]string{hash("b") + ".narinfo": "garbage"}, false, "no NAR is deleted"},
		"upper case":         {map[string]string{hash("b") + ".narinfo": swapLine(late[hash("b")+".narinfo"], "URL", "NAR/"+strings.ToUpper(strings.TrimPrefix(url, "nar/"))+".nar")}, true, ""},
		"a query":            {map[string]string{hash("b") + ".narinfo": swapLine(late[hash("b")+".narinfo"], "URL", url+"?b")}, false, ""},
		"debuginfo":          {map[string]string{"debuginfo/00ff.debug": `{"archive":"../` + url + `","member":"lib/x.debug"}`}, false, ""},
		"debuginfo, a query": {map[string]string{"debuginfo/00ff.debug": `{"archive":"../` + url + `?b","member":"lib/x.debug"}`}, false, ""},
		"other debuginfo":    {map[string]string{"debuginfo/00ff.debug": `{"archive":"../nar/x.nar","member":"lib/x.debug"}`}, true, ""},
		"bad debuginfo":      {map[string]string{"debuginfo/00ff": `garbage`}, false, "no NAR is deleted"},
		"endless debuginfo":  {map[string]string{"debuginfo/00ff": strings.Repeat(" ", 1<<17) + "{}"}, false, "no NAR is deleted"},
		"a NAR of that name": {map[string]string{url: "other contents"}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			everyStore(t, []member{old}, func(t *testing.T, s binarycache.Store) {
				listings, done := 0, false
				h := &hooked{Store: s}
				h.list = func(dir string, n int) {
					if n < 0 && dir == "" {
						listings++
					}
				}
				h.stat = func(object string) {
					if object == url && listings == 2 && !done { // one of the work, one of the pruner
						done = true
						if c.add[url] == "" {
							set(t, s, c.add)
						} else {
							defer set(t, s, c.add)
						}
						time.Sleep(20 * time.Millisecond)
					}
				}
				if c.add[url] != "" {
					h.list = func(dir string, n int) {
						if n < 0 && dir == "" {
							if listings++; listings == 3 {
								set(t, s, c.add)
							}
						}
					}
				}
				var o binarycache.RewriteOptions
				repairing(&o)
				o.Prune = true
				sum, err := binarycache.Rewrite(t.Context(), h, o)
				if !done || c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%v, want %q", err, c.want)
				}
				_, err = s.Stat(t.Context(), url)
				if gone := errors.Is(err, fs.ErrNotExist); gone != c.pruned || (sum.Pruned > 0) != c.pruned {
					t.Errorf("the old NAR: %v, %d pruned, want %v", err, sum.Pruned, c.pruned)
				}
			})
		})
	}
}

// A state that somebody has forged has nothing deleted but NARs without a name, and nothing passed off as checked.
func TestForgedRecords(t *testing.T) {
	dir, state := newCache(t, append(swapping(2), member{base: hash("v") + "-victim", nar: nar("of somebody")})...), t.TempDir()
	write(t, dir, map[string]string{"secret.key": "key", "nar/kept.nar": "kept", "debuginfo/x": `{"archive":"../nar/kept.nar"}`})
	var o binarycache.RewriteOptions
	swap(&o)
	o.Prune = true
	rewriteWith(t, state, dir, o)
	files, err := filepath.Glob(filepath.Join(state, "*", "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	before := read(t, dir)
	id := func(name string) map[string]string {
		h := sha([]byte(before[name]))
		return map[string]string{"name": name, "sha256": fmt.Sprintf("%x", digest(t, h))}
	}
	victim, other := hash("v")+".narinfo", fmt.Sprintf("%032d.narinfo", 0)
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range []map[string]any{
		{"in": id(victim), "out": id(other), "oldNar": line(before[victim], "URL"), "newNar": "nar/x.nar"},
		{"in": id(other), "out": id(victim), "oldNar": line(before[other], "URL"), "newNar": "nar/x.nar"},
		{"in": id(victim), "out": id(victim), "oldNar": "nar/kept.nar", "newNar": "nar/x.nar"},
	} {
		b, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files[0], append(append(bytes.Clone(whole), b...), '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		rewriteWith(t, state, dir, o)
		if after := read(t, dir); !maps.Equal(after, before) {
			t.Errorf("%s: the cache has changed: %q", b, sizes(after))
		}
	}

	// A NAR that is not what its narinfo says is not finished, and neither is one that no trusted key has signed.
	secret, public := keyPair(t, "up-1")
	_, unknown := keyPair(t, "unknown-1")
	trusting := o
	trusting.TrustedKeys = []signature.PublicKey{public}
	if sum := rewriteWith(t, state, dir, trusting); statuses(sum) != "failed=3" {
		t.Errorf("not signed by a trusted key: %s", statuses(sum))
	}
	damaged := line(before[other], "URL")
	write(t, dir, map[string]string{damaged: flip(before[damaged], 30)})
	if sum := rewriteWith(t, state, dir, o); statuses(sum) != "failed=1 finished=2" {
		t.Errorf("a damaged NAR: %s", statuses(sum))
	}
	if err := os.Remove(filepath.Join(dir, damaged)); err != nil {
		t.Fatal(err)
	}
	if sum := rewriteWith(t, state, dir, o); statuses(sum) != "failed=1 finished=2" {
		t.Errorf("no NAR: %s", statuses(sum))
	}

	// What a run has signed itself needs no other key, whatever has signed the input.
	dir, state = newCache(t, swapping(2)...), t.TempDir()
	signed := binarycache.RewriteOptions{SecretKeys: []signature.SecretKey{secret}}
	signed.Filter = o.Filter // and no rules: the NARs change
	rewrite(t, dir, signed)
	swap(&signed)
	signed.TrustedKeys = []signature.PublicKey{public}
	if sum := rewriteWith(t, state, dir, signed); statuses(sum) != "changed=2" {
		t.Errorf("trusted: %s", statuses(sum))
	}
	signed.TrustedKeys = []signature.PublicKey{unknown}
	if sum := rewriteWith(t, state, dir, signed); statuses(sum) != "finished=2" {
		t.Errorf("signed by this run's key: %s", statuses(sum))
	}
	signed.SecretKeys = nil
	if sum := rewriteWith(t, state, dir, signed); statuses(sum) != "failed=2" {
		t.Errorf("signed by an unknown key: %s", statuses(sum))
	}
}

// Nothing of another cache is overwritten by what has other contents.
func TestOutputThatExists(t *testing.T) {
	in := []member{{base: hash("a") + "-a", nar: nar("fine")}, {base: hash("b") + "-b", nar: nar("broken")}}
	all := objects(t, in...)
	info := hash("a") + ".narinfo"
	fresh := t.TempDir()
	var o binarycache.RewriteOptions
	repairing(&o)
	o.Output = folder.New(fresh)
	rewrite(t, newCache(t, in...), o)
	made := read(t, fresh)
	madeURL := line(made[hash("b")+".narinfo"], "URL")
	for name, c := range map[string]struct {
		there map[string]string
		want  string // how the run ends
		names string // what the error names
	}{
		"another narinfo":      {map[string]string{info: strings.ReplaceAll(all[hash("b")+".narinfo"], hash("b")+"-b", hash("a")+"-z")}, "changed=1 failed=1", info},
		"another store's NAR":  {map[string]string{line(all[info], "URL"): "theirs"}, "changed=1 failed=1", line(all[info], "URL")},
		"the new NAR's name":   {map[string]string{madeURL: "theirs"}, "failed=1 unchanged=1", madeURL},
		"the same narinfo":     {map[string]string{info: all[info], line(all[info], "URL"): all[line(all[info], "URL")]}, "changed=1 finished=1", ""},
		"the same, and no NAR": {map[string]string{info: all[info]}, "changed=1 failed=1", ""},
		"the same NAR":         {map[string]string{line(all[info], "URL"): all[line(all[info], "URL")]}, "changed=1 unchanged=1", ""},
		"all":                  {made, "finished=2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			at := t.TempDir()
			write(t, at, c.there)
			o.Output = folder.New(at)
			sum, results := rewrite(t, newCache(t, in...), o)
			if statuses(sum) != c.want {
				t.Errorf("got %s, want %s: %+v", statuses(sum), c.want, results)
			}
			for _, r := range results {
				if c.names != "" && r.Err != nil && (!errors.Is(r.Err, binarycache.ErrConflict) || !strings.Contains(r.Err.Error(), c.names)) {
					t.Errorf("got %v, want that it names %s", r.Err, c.names)
				}
			}
			after := read(t, at)
			for f, content := range c.there {
				if after[f] != content {
					t.Errorf("%s is overwritten", f)
				}
			}
		})
	}
}

// Each narinfo is read once, and work begins while the listing goes on.
func TestPlanningOverlaps(t *testing.T) {
	dir := newCache(t, append(closure(), swapping(3)...)...)
	opened := map[string]int{}
	var mu sync.Mutex
	begun := make(chan struct{})
	h := &hooked{Store: folder.New(dir)}
	h.open = func(name string) {
		mu.Lock()
		defer mu.Unlock()
		opened[name]++
	}
	h.list = func(dir string, n int) {
		if dir == "" && n == 1 {
			select {
			case <-begun:
			case <-time.After(10 * time.Second):
				t.Error("the work waits for the listing")
			}
		}
	}
	var o binarycache.RewriteOptions
	replacing(&o, hash("l"), hash("7"), hash("d"), hash("8"))
	var once sync.Once
	filter := o.Filter
	o.Filter = func(ctx context.Context, p *binarycache.Path, dst io.Writer, src io.Reader) error {
		once.Do(func() { close(begun) })
		return filter(ctx, p, dst, src)
	}
	plans, last := 0, 0
	o.Planned = func(n int, _ int64) {
		if n < last {
			t.Errorf("%d paths after %d", n, last)
		}
		plans, last = plans+1, n
	}
	sum, err := binarycache.Rewrite(t.Context(), h, o)
	if err != nil || statuses(sum) != "changed=5 unchanged=1" || plans < 2 || last != 6 {
		t.Errorf("%s, %v, %d plans, the last of %d", statuses(sum), err, plans, last)
	}
	for name, n := range opened {
		// The new name is looked for, too.
		if n != 1 {
			t.Errorf("%s is read %d times", name, n)
		}
	}
}

// A file is not read beyond what a NAR of its size can take.
func TestFileBound(t *testing.T) {
	base := hash("a") + "-a"
	info := hash("a") + ".narinfo"
	for name, sized := range map[string]bool{"no FileSize": false, "FileSize": true} {
		t.Run(name, func(t *testing.T) {
			dir := newCache(t, member{base: base, nar: nar("x"), compression: compression.None})
			files := read(t, dir)
			url, text := line(files[info], "URL"), files[info]
			const size = 1 << 40
			if sized {
				text = swapLine(text, "FileSize", strconv.Itoa(size))
			} else {
				text = dropLine(text, "FileSize")
			}
			write(t, dir, map[string]string{info: text})
			if err := os.Truncate(filepath.Join(dir, url), size); err != nil {
				t.Skip("no sparse files: ", err)
			}
			var failed error
			o := binarycache.VerifyOptions{}
			o.Done = func(r binarycache.Result) { failed = r.Err }
			begin := time.Now()
			if _, err := binarycache.Verify(t.Context(), folder.New(dir), o); err != nil {
				t.Fatal(err)
			}
			if !errors.Is(failed, binarycache.ErrMismatch) || time.Since(begin) > 5*time.Second {
				t.Errorf("%v after %v", failed, time.Since(begin))
			}
		})
	}
}

func digest(t testing.TB, hash string) []byte {
	t.Helper()
	b, err := nixbase32.DecodeString(strings.TrimPrefix(hash, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Thousands of narinfos of one NAR have it read for the first of them, and for some more. Paths that share a NAR as those of
// usual caches do are all read.
func TestSharedNAR(t *testing.T) {
	big := nar(strings.Repeat("\x00", 64<<20))
	small := nar(strings.Repeat("contents", 1000))
	path := func(first string, i int) string { return fmt.Sprintf("%s%031d", first, i) }
	dir := newCache(t, member{base: path("0", 0) + "-big", nar: big, compression: compression.Zstd})
	info := read(t, dir)[path("0", 0)+".narinfo"]
	infos := map[string]string{}
	for i := range 200 {
		infos[path("0", i)+".narinfo"] = strings.ReplaceAll(info, path("0", 0), path("0", i))
	}
	write(t, dir, infos)
	var members []member
	for i := range 300 {
		members = append(members, member{base: path("a", i) + "-small", nar: small, compression: compression.Zstd})
	}
	fill(t, dir, members...)
	for _, jobs := range []int{1, 4} {
		verified, failed := map[string]int{}, error(nil)
		_, err := binarycache.Verify(t.Context(), folder.New(dir), binarycache.VerifyOptions{Options: binarycache.Options{Jobs: jobs, Done: func(r binarycache.Result) {
			if verified[r.Info[:1]]++; r.Err != nil {
				verified[r.Info[:1]]--
				failed = r.Err
			}
		}}})
		if err != nil {
			t.Fatal(err)
		}
		// 16 are 1 GiB, and the files have a few KB. Of those that are read at the same time, none may be the last.
		if n := verified["0"]; n < 1+16-jobs || n > 1+20 || failed == nil || !strings.Contains(failed.Error(), "other paths name it") || jobs == 1 && verified["a"] != 300 {
			t.Errorf("%d jobs: %v, %v", jobs, verified, failed)
		}
	}
}

// Narinfos that claim other sizes of a NAR fail, and use up nothing of what the paths may read that share it.
func TestFalseSizesOfSharedNAR(t *testing.T) {
	shared := nar(strings.Repeat("contents", 1000))
	path := func(first string, i int) string { return fmt.Sprintf("%s%031d", first, i) }
	dir := newCache(t, member{base: path("0", 0) + "-shared", nar: shared, compression: compression.Zstd}, member{base: path("z", 0) + "-shared", nar: shared, compression: compression.Zstd})
	info := read(t, dir)[path("0", 0)+".narinfo"]
	infos := map[string]string{}
	for exponent := 46; exponent > 12; exponent-- {
		for range 2 {
			hash := path("1", len(infos))
			infos[hash+".narinfo"] = strings.Replace(strings.ReplaceAll(info, path("0", 0), hash), "NarSize: "+line(info, "NarSize"), fmt.Sprint("NarSize: ", int64(1)<<exponent), 1)
		}
	}
	write(t, dir, infos)
	for _, jobs := range []int{1, 8} {
		failed := map[string]error{}
		sum, err := binarycache.Verify(t.Context(), folder.New(dir), binarycache.VerifyOptions{Options: binarycache.Options{Jobs: jobs, Done: func(r binarycache.Result) {
			if r.Err != nil {
				failed[r.Info] = r.Err
			}
		}}})
		if err != nil || sum.Paths[binarycache.Verified] != 2 || len(failed) != len(infos) {
			t.Errorf("%d jobs: %v, %v", jobs, sum.Paths, err)
		}
		for name, err := range failed {
			if infos[name] == "" {
				t.Errorf("%d jobs: %s: %v", jobs, name, err)
			}
		}
	}
}
