package binarycache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
)

// graph is a closure of n paths in random order. Each refers to some of those made before it, at times to itself, and at
// times to one that the cache does not have.
func graph(random *rand.Rand, n int) (members []member) {
	names := random.Perm(n)
	base := func(i int) string { return fmt.Sprintf("%032d-path", names[i]) }
	for i := range n {
		var refs []string
		for range random.IntN(4) {
			if i > 0 {
				refs = append(refs, base(random.IntN(i)))
			}
		}
		if i > 0 && i%2 == 0 {
			refs = append(refs, base(i-1)) // long chains
		}
		if i%5 == 0 {
			refs = append(refs, base(i))
		}
		if i%7 == 0 {
			refs = append(refs, hash("z")+"-missing")
		}
		slices.Sort(refs)
		refs = slices.Compact(refs)
		members = append(members, member{base: base(i), nar: nar(fmt.Sprint(i, " is broken and refers to ", refs)), refs: refs, compression: compression.None})
	}
	return members
}

// An orderStore fails the test when a narinfo is put before the NAR that it names or a narinfo that it refers to.
type orderStore struct {
	binarycache.Store
	t    *testing.T
	will map[string]bool // base names that the finished cache has
	new  bool            // it is empty at first

	mu   sync.Mutex
	puts int
	fail int // the number of the Put that fails; 0: none
}

var errInjected = errors.New("injected")

func (s *orderStore) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	s.mu.Lock()
	s.puts++
	n := s.puts
	s.mu.Unlock()
	if n == s.fail {
		return "", errInjected
	}
	if strings.HasSuffix(o.Name, ".narinfo") {
		b, err := io.ReadAll(body)
		if err != nil {
			return "", err
		}
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		s.check(ctx, string(b))
	} else if n == 1 && s.new && o.Name != "nix-cache-info" {
		s.t.Errorf("%s is written first", o.Name)
	}
	return s.Store.Put(ctx, o, body, c)
}

func (s *orderStore) check(ctx context.Context, info string) {
	own := strings.TrimPrefix(line(info, "StorePath"), "/nix/store/")
	for _, ref := range strings.Fields(line(info, "References")) {
		if ref == own || !s.will[ref] {
			continue
		}
		if _, err := s.Stat(ctx, ref[:32]+".narinfo"); err != nil {
			s.t.Errorf("%s is written before %s, which it refers to: %v", own, ref, err)
		}
	}
	if _, err := s.Stat(ctx, line(info, "URL")); err != nil {
		s.t.Errorf("%s is written before its NAR: %v", own, err)
	}
}

// orderCase is a closure, what is done with it, and the base names of what comes out.
func orderCase(random *rand.Rand, rename bool) (members []member, o binarycache.RewriteOptions, will map[string]bool) {
	members = graph(random, 30)
	rules := []string{"broken", "sealed"}
	if rename {
		for i := range 4 {
			rules = append(rules, members[5*i].base[:32], hash(fmt.Sprint("abcd"[i:i+1])))
		}
	}
	replacing(&o, rules...)
	if !rename {
		o.Rename = nil
	}
	o.Jobs = 1 + random.IntN(6)
	filter := o.Filter
	pauses := make([]time.Duration, 64)
	for i := range pauses {
		pauses[i] = time.Duration(random.IntN(500)) * time.Microsecond
	}
	o.Filter = func(ctx context.Context, p *binarycache.Path, dst io.Writer, src io.Reader) error {
		time.Sleep(pauses[int(p.NarSize)%len(pauses)]) // so that workers meet in many ways
		return filter(ctx, p, dst, src)
	}
	will = map[string]bool{}
	for _, m := range members {
		will[strings.NewReplacer(rules...).Replace(m.base)] = true
	}
	return members, o, will
}

func TestOrder(t *testing.T) {
	for seed := range uint64(24) {
		random := rand.New(rand.NewPCG(seed, 0))
		rename, output, listed := seed%2 == 0, seed%3 > 0, seed%4 == 0
		t.Run(fmt.Sprintf("seed %d, rename %v, output %v, listed %v", seed, rename, output, listed), func(t *testing.T) {
			members, o, will := orderCase(random, rename)
			in := memoryCache(t, members...)
			out := &orderStore{Store: in, t: t, will: will}
			if output {
				out.Store, out.new = cachetest.NewMemory(nil), true
				o.Output = out
			}
			if listed {
				var list []string
				for _, i := range random.Perm(len(members)) {
					list = append(list, members[i].base[:32])
				}
				o.Hashes = hashes(list...)
			}
			done := map[string]int{}
			planned := 0
			o.Done = func(r binarycache.Result) {
				done[r.Info]++
				if r.Err != nil || len(r.Warnings) > 0 {
					t.Errorf("%+v", r)
				}
			}
			o.Planned = func(n int, _ int64) { planned = n }
			store := binarycache.Store(in)
			if !output {
				store = out
			}
			sum, err := binarycache.Rewrite(t.Context(), store, o)
			if err != nil || statuses(sum) != fmt.Sprintf("changed=%d", len(members)) || planned != len(members) || len(done) != planned {
				t.Errorf("%s, %d planned, %d done, %v", statuses(sum), planned, len(done), err)
			}
			for name, n := range done {
				if n != 1 {
					t.Errorf("%s: done %d times", name, n)
				}
			}
			if sum, err := binarycache.Verify(t.Context(), out, binarycache.VerifyOptions{}); err != nil || sum.Paths[binarycache.Failed] > 0 {
				t.Errorf("verify: %s, %v", statuses(sum), err)
			}
		})
	}
}

// Wherever a Put fails, the cache is valid and complete in itself, and the next run makes what one whole run makes.
func TestOrderAfterFaults(t *testing.T) {
	for _, rename := range []bool{false, true} {
		for _, output := range []bool{false, true} {
			if !rename && !output {
				continue // any order will do
			}
			members, o, will := orderCase(rand.New(rand.NewPCG(7, 0)), rename)
			members = members[:8]
			want, puts := faultRun(t, members, o, will, output, 0)
			for fail := 1; fail <= puts; fail++ {
				if got, _ := faultRun(t, members, o, will, output, fail); !maps.Equal(got, want) {
					t.Errorf("rename %v, output %v, put %d fails: got %q, want %q", rename, output, fail, sizes(got), sizes(want))
				}
			}
			t.Logf("rename %v, output %v: each of %d puts failed once", rename, output, puts)
		}
	}
}

// faultRun has a Put of a run fail, and continues it.
func faultRun(t *testing.T, members []member, o binarycache.RewriteOptions, will map[string]bool, output bool, fail int) (map[string]string, int) {
	t.Helper()
	in := memoryCache(t, members...)
	m := in
	if output {
		m = cachetest.NewMemory(nil)
	}
	s := &orderStore{Store: m, t: t, will: will, new: output, fail: fail}
	run := func() error {
		store := binarycache.Store(in)
		if output {
			o.Output = s
		} else {
			store = s
		}
		_, err := binarycache.Rewrite(t.Context(), store, o)
		return err
	}
	err := run()
	if (fail > 0) != errors.Is(err, errInjected) {
		t.Fatalf("put %d fails: %v", fail, err)
	}
	puts := s.puts
	for name, content := range m.Objects() { // as a reader sees it
		if strings.HasSuffix(name, ".narinfo") {
			s.check(t.Context(), content)
		}
	}
	if fail > 0 {
		s.fail, s.new = 0, output && fail == 1
		s.puts = 0
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}
	return m.Objects(), puts
}

// A path that fails keeps nobody waiting.
func TestOrderWithFailures(t *testing.T) {
	lib, app := hash("b")+"-lib", hash("a")+"-app"
	for _, jobs := range []int{1, 4} {
		files := objects(t, member{base: lib, nar: nar("broken"), compression: compression.None}, member{base: app, nar: nar("broken, too"), refs: []string{app, lib}})
		url := line(files[hash("b")+".narinfo"], "URL")
		files[url] = flip(files[url], 20)
		out := cachetest.NewMemory(nil)
		o := binarycache.RewriteOptions{Output: out}
		repairing(&o)
		o.Jobs = jobs
		warned := ""
		o.Done = func(r binarycache.Result) {
			if r.Info == hash("a")+".narinfo" {
				warned = fmt.Sprint(r.Warnings)
			}
		}
		sum, err := binarycache.Rewrite(t.Context(), cachetest.NewMemory(files), o)
		if err != nil || statuses(sum) != "changed=1 failed=1" || !strings.Contains(warned, "it refers to "+hash("b")+", which has failed") {
			t.Errorf("jobs %d: %s, %v, warnings %s", jobs, statuses(sum), err, warned)
		}
	}
}

// Rules may make two paths refer to each other. Both are written.
func TestOrderOfCycles(t *testing.T) {
	a, b, x := hash("a")+"-a", hash("b")+"-b", hash("x")+"-x"
	out := cachetest.NewMemory(nil)
	o := binarycache.RewriteOptions{Output: out}
	replacing(&o, hash("x"), hash("b"))
	o.Exclude = func(base string) bool { return strings.HasPrefix(base, hash("x")) }
	sum, err := binarycache.Rewrite(t.Context(), memoryCache(t,
		member{base: a, nar: nar("a: " + x), refs: []string{x}}, member{base: b, nar: nar("b: " + a), refs: []string{a}}, member{base: x, nar: nar("x")}), o)
	if err != nil || statuses(sum) != "changed=1 excluded=1 unchanged=1" {
		t.Errorf("%s, %v", statuses(sum), err)
	}
	if refs := line(out.Objects()[hash("a")+".narinfo"], "References"); refs != hash("b")+"-x" {
		t.Errorf("references %q", refs)
	}
}
