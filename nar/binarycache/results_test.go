package binarycache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
)

// A forgetfulStore loses objects: a NAR before a narinfo names it, and a narinfo of another program before it is read.
type forgetfulStore struct {
	*cachetest.Memory
	losesNAR  func(name string) bool // asked at each Stat of a NAR
	losesInfo func(name string) bool // asked at each Put of a new narinfo
}

func (s *forgetfulStore) Stat(ctx context.Context, name string) (binarycache.Object, error) {
	if strings.HasPrefix(name, "nar/") && s.losesNAR != nil && s.losesNAR(name) {
		s.Delete(ctx, name, binarycache.Condition{})
	}
	return s.Memory.Stat(ctx, name)
}

func (s *forgetfulStore) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if c.New && strings.HasSuffix(o.Name, ".narinfo") && s.losesInfo != nil && s.losesInfo(o.Name) {
		return "", fs.ErrExist
	}
	return s.Memory.Put(ctx, o, body, c)
}

// A path that waited for another one and then has to be made again has a result, whatever its new name is.
func TestParkedPathIsMadeAgain(t *testing.T) {
	lib, app := hash("b")+"-lib", hash("a")+"-app"
	ways := map[string]func(s *forgetfulStore, loses func(string) bool){
		"NAR deleted":                 func(s *forgetfulStore, loses func(string) bool) { s.losesNAR = loses },
		"narinfo written and deleted": func(s *forgetfulStore, loses func(string) bool) { s.losesInfo = loses },
	}
	for way, set := range ways {
		for _, rename := range []bool{false, true} {
			for _, inPlace := range []bool{false, true} {
				for _, times := range []int{1, 1000} {
					if !rename && (inPlace || way == "NAR deleted") {
						continue // nothing waits
					}
					in := memoryCache(t, member{base: lib, nar: nar("I am " + lib + " broken"), compression: compression.None},
						member{base: app, nar: nar("broken uses " + lib), refs: []string{lib}, compression: compression.None})
					out := in
					var o binarycache.RewriteOptions
					rules := []string{"broken", "sealed"}
					if rename {
						rules = append(rules, hash("a"), hash("x"), hash("b"), hash("y"))
					}
					replacing(&o, rules...)
					if !rename {
						o.Rename = nil
					}
					if !inPlace {
						out = cachetest.NewMemory(nil)
					}
					store := &forgetfulStore{Memory: out}
					source := binarycache.Store(in)
					if inPlace {
						source = store
					} else {
						o.Output = store
					}
					n := 0
					set(store, func(name string) bool {
						if way == "NAR deleted" {
							b := out.Objects()[name]
							if !strings.Contains(b, "uses") {
								return false
							}
						} else if name[:1] != "a" && name[:1] != "x" {
							return false
						}
						n++
						return n <= times
					})
					results := map[string]binarycache.Result{}
					o.Done = func(r binarycache.Result) { results[r.Info] = r }
					sum, err := binarycache.Rewrite(t.Context(), source, o)
					name := fmt.Sprintf("%s, rename %v, in place %v, %d times", way, rename, inPlace, times)
					want := "changed=2"
					if times > 1 && (way != "NAR deleted" || n > 1) {
						want = "changed=1 failed=1"
					}
					if n == 0 || err != nil || statuses(sum) != want || len(results) != 2 {
						t.Errorf("%s: lost %d times, %s, want %s, %v, %v", name, n, statuses(sum), want, results, err)
					}
					if r := results[hash("a")+".narinfo"]; r.Status == binarycache.Failed && !errors.Is(r.Err, binarycache.ErrChanged) {
						t.Errorf("%s: %v", name, r.Err)
					}
					infos := 0
					for name := range out.Objects() {
						if strings.HasSuffix(name, ".narinfo") {
							infos++
						}
					}
					wantInfos := sum.Paths[binarycache.Changed]
					if inPlace {
						wantInfos += 2
					}
					if infos != wantInfos {
						t.Errorf("%s: %d narinfos, want %d", name, infos, wantInfos)
					}
				}
			}
		}
	}
}

// Whatever an output loses, each path that was listed has exactly one result, and the run agrees.
func TestEachPathHasOneResult(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 3))
		rename, output, listed := seed%2 == 0, seed%2 == 1 || seed%3 > 0, seed%4 == 0
		members, o, _ := orderCase(random, rename)
		var mu sync.Mutex
		often := 2 + random.IntN(6)
		loses := func(string) bool {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(often) == 0
		}
		in := memoryCache(t, members...)
		store := binarycache.Store(in)
		if output {
			o.Output = &forgetfulStore{Memory: cachetest.NewMemory(nil), losesNAR: loses, losesInfo: loses}
		} else {
			store = &forgetfulStore{Memory: in, losesNAR: loses, losesInfo: loses}
		}
		if listed {
			var list []string
			for _, i := range rand.Perm(len(members)) {
				list = append(list, members[i].base[:32])
			}
			o.Hashes = hashes(list...)
		}
		done := map[string]int{}
		o.Done = func(r binarycache.Result) {
			done[r.Info]++
			if r.Err != nil && !errors.Is(r.Err, binarycache.ErrChanged) {
				t.Errorf("seed %d: %+v", seed, r)
			}
		}
		sum, err := binarycache.Rewrite(t.Context(), store, o)
		if err != nil || len(done) != len(members) {
			t.Errorf("seed %d, rename %v, output %v, listed %v: %d of %d paths have a result: %s, %v", seed, rename, output, listed, len(done), len(members), statuses(sum), err)
		}
		for name, n := range done {
			if n != 1 {
				t.Errorf("seed %d: %s has %d results", seed, name, n)
			}
		}
	}
}

// Rules may make two paths refer to each other, and both may have to be made again.
func TestCycleIsMadeAgain(t *testing.T) {
	a, b, x := hash("a")+"-a", hash("b")+"-b", hash("x")+"-x"
	lost := map[string]int{}
	out := &forgetfulStore{Memory: cachetest.NewMemory(nil)}
	out.losesNAR = func(name string) bool { lost[name]++; return lost[name] == 1 }
	o := binarycache.RewriteOptions{Output: out}
	replacing(&o, hash("x"), hash("b"))
	o.Exclude = func(base string) bool { return strings.HasPrefix(base, hash("x")) }
	sum, err := binarycache.Rewrite(t.Context(), memoryCache(t,
		member{base: a, nar: nar("a: " + x), refs: []string{x}}, member{base: b, nar: nar("b: " + a), refs: []string{a}}, member{base: x, nar: nar("x")}), o)
	if err != nil || statuses(sum) != "changed=1 excluded=1 unchanged=1" || len(lost) < 2 {
		t.Errorf("%s, %v, lost %v", statuses(sum), err, lost)
	}
}

// A lateStore lists a path only after somebody has found it missing, and has it from then on.
type lateStore struct {
	*cachetest.Memory
	late           string // a narinfo
	opened, listed chan struct{}
	open, list     sync.Once
}

func (s *lateStore) Open(ctx context.Context, name string) (io.ReadCloser, binarycache.Object, error) {
	var err error
	if name == s.late {
		s.open.Do(func() {
			close(s.opened)
			<-s.listed
			err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		})
	}
	if err != nil {
		return nil, binarycache.Object{}, err
	}
	return s.Memory.Open(ctx, name)
}

func (s *lateStore) List(ctx context.Context, dir string) iter.Seq2[binarycache.Object, error] {
	return func(yield func(binarycache.Object, error) bool) {
		var late binarycache.Object
		for o, err := range s.Memory.List(ctx, dir) {
			if o.Name == s.late {
				late = o
			} else if !yield(o, err) {
				return
			}
		}
		if dir == "" {
			<-s.opened
			yield(late, nil)
			s.list.Do(func() { close(s.listed) })
		}
	}
}

// A path that is listed while a worker finds it missing, because another path refers to it, is worked on again.
func TestListedWhileItIsMissing(t *testing.T) {
	lib, app := hash("b")+"-lib", hash("a")+"-app"
	in := memoryCache(t, member{base: lib, nar: nar("broken")}, member{base: app, nar: nar("broken, too"), refs: []string{lib}})
	o := binarycache.RewriteOptions{Output: cachetest.NewMemory(nil)}
	repairing(&o)
	planned := 0
	o.Planned = func(n int, _ int64) { planned = n }
	s := &lateStore{Memory: in, late: hash("b") + ".narinfo", opened: make(chan struct{}), listed: make(chan struct{})}
	sum, err := binarycache.Rewrite(t.Context(), s, o)
	if err != nil || statuses(sum) != "changed=2" || planned != 2 {
		t.Errorf("%s, %d planned, %v", statuses(sum), planned, err)
	}
}

// A caller may list a path twice.
func TestListedTwice(t *testing.T) {
	for _, output := range []bool{false, true} {
		o := binarycache.RewriteOptions{}
		replacing(&o, hash("l"), hash("0"))
		o.Hashes, o.Jobs = hashes(hash("l"), hash("a"), hash("l"), hash("a")), 3
		if output {
			o.Output = cachetest.NewMemory(nil)
		}
		results := 0
		o.Done = func(r binarycache.Result) {
			if results++; r.Err != nil {
				t.Errorf("output %v: %+v", output, r)
			}
		}
		sum, err := binarycache.Rewrite(t.Context(), memoryCache(t, closure()...), o)
		if err != nil || output && results != 2 || results < 2 {
			t.Errorf("output %v: %s, %d results, %v", output, statuses(sum), results, err)
		}
	}
}
