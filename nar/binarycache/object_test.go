package binarycache_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
	"narseal/nar/compression"
)

// withURL gives the NAR of a path in a cache another name.
func withURL(objects map[string]string, hash, url string) {
	info := hash + ".narinfo"
	old := line(objects[info], "URL")
	objects[url] = objects[old]
	delete(objects, old)
	objects[info] = swapLine(objects[info], "URL", url)
}

// No name that one path gives its NAR keeps another path out of the output, whether the path changes or not.
func TestHostileNARNames(t *testing.T) {
	b := member{base: hash("b") + "-b", nar: nar("broken b")}
	a := member{base: hash("a") + "-a", nar: nar("broken a")}
	// The names of b's NAR and of the one that it becomes.
	outB := t.TempDir()
	o := binarycache.RewriteOptions{Output: folder.New(outB)}
	repairing(&o)
	rewrite(t, newCache(t, b), o)
	newB := line(read(t, outB)[hash("b")+".narinfo"], "URL")
	if newB == "" || newB == line(objects(t, b)[hash("b")+".narinfo"], "URL") {
		t.Fatalf("b becomes %q", newB)
	}
	for _, url := range []string{
		"nar/" + strings.Repeat("x", 300) + ".nar", "nar/" + strings.Repeat("x", 250) + ".nar", "nar/a." + strings.Repeat("x", 245) + ".nar",
		strings.Repeat("x/", 505) + "a.nar", "x.nar?" + strings.Repeat("y", 240), "nix-cache-info/x.nar", "NIX-CACHE-INFO/x.nar",
		hash("b") + ".narinfo/x.nar", hash("b") + ".ls/x.nar", "narinfo/x.nar", "nar.nar", "nar/x.nar/y.nar",
		newB, newB + "/x.nar", newB + "?x", strings.TrimPrefix(newB, "nar/"), "NAR/" + strings.ToUpper(strings.TrimPrefix(newB, "nar/")) + ".nar",
	} {
		for _, content := range []string{"broken", "whole"} {
			a.nar = nar(content + " a")
			all := objects(t, a, b)
			withURL(all, hash("a"), url)
			out := t.TempDir()
			o.Output = folder.New(out)
			// Sorted by name, a is first.
			results := map[string]binarycache.Result{}
			o.Done = func(r binarycache.Result) { results[r.Info] = r }
			for range 2 {
				clear(results)
				if _, err := binarycache.Rewrite(t.Context(), cachetest.NewMemory(all), o); err != nil {
					t.Errorf("%.80s, %s: the run ends: %v", url, content, err)
				}
				if r := results[hash("b")+".narinfo"]; r.Err != nil || r.Status != binarycache.Changed && r.Status != binarycache.Finished {
					t.Errorf("%.80s, %s: the other path: %s, %v", url, content, r.Status, r.Err)
				}
			}
			nars := valid(t, out)
			if got := nars["/nix/store/"+b.base]; got != "nix-archive-1 sealed b" && !strings.Contains(got, "sealed b") {
				t.Errorf("%.80s, %s: the other path has %q", url, content, got)
			}
			for name := range read(t, out) {
				if dir := filepath.Dir(name); dir != "nar" && dir != "." {
					t.Errorf("%.80s, %s: the output has %s", url, content, name)
				}
			}
		}
	}
}

// An unusual name is replaced by that of the file's hash. What else the narinfo says stays, as do its signatures.
func TestCopyIsNamedByHash(t *testing.T) {
	a := member{base: hash("a") + "-a", nar: nar("whole"), compression: compression.Xz,
		extra: "System: x\nSig: key-1:" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + "\n"}
	all := objects(t, a)
	want := all[hash("a")+".narinfo"]
	withURL(all, hash("a"), "x/a.nar.xz?y=z")
	out := t.TempDir()
	sum, err := binarycache.Rewrite(t.Context(), cachetest.NewMemory(all), binarycache.RewriteOptions{Output: folder.New(out)})
	if err != nil || statuses(sum) != "unchanged=1" {
		t.Fatalf("%s, %v", statuses(sum), err)
	}
	if got := read(t, out)[hash("a")+".narinfo"]; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What the output refuses of one path does not stop the others, and the error of the output itself does.
func TestRefusedObject(t *testing.T) {
	var members []member
	for _, c := range "abcd" {
		members = append(members, member{base: hash(string(c)) + "-x", nar: nar("whole " + string(c)), listing: `{"version":1,"root":{"type":"regular","size":1}}`})
	}
	all := objects(t, members...)
	for what, refused := range map[string]string{
		"NAR": line(all[hash("b")+".narinfo"], "URL"), "listing": hash("b") + ".ls", "narinfo": hash("b") + ".narinfo",
		"log": "log/" + hash("b") + "-x.drv",
	} {
		all["log/"+hash("b")+"-x.drv"], all["log/"+hash("c")+"-x.drv"] = "log", "log"
		for _, whole := range []bool{false, true} {
			out := cachetest.NewMemory(nil)
			errOut := errors.New("no")
			if !whole {
				errOut = fmt.Errorf("no: %w", fs.ErrInvalid)
			}
			o := binarycache.RewriteOptions{Output: &refusing{out, refused, errOut}}
			warned := 0
			o.Warn = func(string) { warned++ }
			sum, err := binarycache.Rewrite(t.Context(), cachetest.NewMemory(all), o)
			if whole {
				if !errors.Is(err, errOut) {
					t.Errorf("%s: got %v, want that the run ends", what, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if want := "failed=1 unchanged=3"; what != "log" && statuses(sum) != want || what == "log" && warned != 1 {
				t.Errorf("%s: got %s, want %s, and %d warnings", what, statuses(sum), want, warned)
			}
			got := out.Objects()
			if _, ok := got[refused]; ok || len(got) < 4 {
				t.Errorf("%s: %d objects", what, len(got))
			}
			if _, ok := got[hash("b")+".narinfo"]; ok && what == "NAR" {
				t.Error("a narinfo without its NAR")
			}
		}
	}
}

// A refusing store refuses one object.
type refusing struct {
	binarycache.Store
	name string
	err  error
}

func (s *refusing) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if o.Name == s.name {
		return "", &fs.PathError{Op: "put", Path: o.Name, Err: s.err}
	}
	return s.Store.Put(ctx, o, body, c)
}

// A narinfo whose time cannot be told does not stop the other paths.
func TestSinceWithHostileNarinfo(t *testing.T) {
	dir := newCache(t, member{base: hash("b") + "-b", nar: nar("whole")})
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, hash("a")+".narinfo")); err != nil {
		t.Fatal(err)
	}
	var o binarycache.VerifyOptions
	o.Since = time.Unix(1, 0)
	o.Hashes = func(yield func(string, error) bool) { _ = yield(hash("a"), nil) && yield(hash("b"), nil) }
	if sum, err := binarycache.Verify(t.Context(), folder.New(dir), o); err != nil || statuses(sum) != "failed=1 verified=1" {
		t.Errorf("%s, %v", statuses(sum), err)
	}
}

// asked is a store that answers Stat when so many wait for it at the same time.
type asked struct {
	binarycache.Store
	jobs    int64
	waiting atomic.Int64
	goOn    chan struct{}
}

func (s *asked) Stat(ctx context.Context, name string) (binarycache.Object, error) {
	if s.waiting.Add(1) == s.jobs {
		close(s.goOn)
	}
	select {
	case <-s.goOn:
		return s.Store.Stat(ctx, name)
	case <-time.After(20 * time.Second): // do not hang
		return binarycache.Object{}, errors.New("not asked at the same time")
	}
}

// The times of listed narinfos are asked for at the same time, as many as there are jobs. Only what is new is worked on.
func TestSinceAtTheSameTime(t *testing.T) {
	const jobs, paths = 4, 20
	var members []member
	var names []string
	for i := range paths {
		base := fmt.Sprintf("%032d-x", i)
		names = append(names, base[:32])
		members = append(members, member{base: base, nar: nar(fmt.Sprint("whole ", i))})
	}
	dir := newCache(t, members...)
	old := time.Unix(1000, 0)
	for _, name := range names[:paths*3/4] {
		if err := os.Chtimes(filepath.Join(dir, name+".narinfo"), old, old); err != nil {
			t.Fatal(err)
		}
	}
	s := &asked{Store: folder.New(dir), jobs: jobs, goOn: make(chan struct{})}
	var o binarycache.VerifyOptions
	o.Since, o.Jobs, o.Hashes = old, jobs, hashes(names...)
	if sum, err := binarycache.Verify(t.Context(), s, o); err != nil || statuses(sum) != fmt.Sprintf("verified=%d", paths/4) {
		t.Errorf("%s, %v", statuses(sum), err)
	}
}

// An error at the end of a list, as of a closure in which one narinfo cannot be read, does not keep the paths before it from
// being worked on.
func TestListThatFails(t *testing.T) {
	var members []member
	var names []string
	for i := range 32 {
		base := fmt.Sprintf("%032d-x", i)
		names = append(names, base[:32])
		m := member{base: base, nar: nar(fmt.Sprint("broken ", i))}
		if i > 0 {
			m.refs = []string{fmt.Sprintf("%032d-x", i-1)}
		}
		members = append(members, m)
	}
	failed := errors.New("no more")
	for _, rename := range []bool{false, true} {
		out := t.TempDir()
		var o binarycache.RewriteOptions
		repairing(&o)
		if rename {
			replacing(&o, names[7], hash("z"))
		}
		o.Output, o.Jobs = folder.New(out), 2
		o.Hashes = func(yield func(string, error) bool) {
			for _, name := range names {
				if !yield(name, nil) {
					return
				}
			}
			yield("", failed)
		}
		sum, err := binarycache.Rewrite(t.Context(), memoryCache(t, members...), o)
		want := 32
		if rename {
			want = 31
		}
		if n := sum.Paths[binarycache.Changed] + sum.Paths[binarycache.Unchanged]; !errors.Is(err, failed) || n != want || len(valid(t, out)) != want {
			t.Errorf("rename %v: %s, %v, want %d", rename, statuses(sum), err, want)
		}
	}
}

// A listing that cannot be made, and may not be deleted, is a warning of its path.
func TestListingThatStays(t *testing.T) {
	a := member{base: hash("a") + "-a", nar: []byte("no NAR, broken"), listing: "garbage"}
	b := member{base: hash("b") + "-b", nar: nar("broken")}
	for _, may := range []bool{true, false} {
		m := memoryCache(t, a, b)
		var o binarycache.RewriteOptions
		replacing(&o, "broken", "sealed")
		var warnings []string
		o.Done = func(r binarycache.Result) { warnings = append(warnings, r.Warnings...) }
		sum, err := binarycache.Rewrite(t.Context(), &undeletable{m, may}, o)
		if err != nil || statuses(sum) != "changed=2" {
			t.Errorf("deleted %v: %s, %v", may, statuses(sum), err)
		}
		text := fmt.Sprint(warnings)
		if _, there := m.Objects()[hash("a")+".ls"]; there == may || !strings.Contains(text, "does not follow") || strings.Contains(text, "cannot be deleted") == may {
			t.Errorf("deleted %v: still there: %v, warnings %q", may, there, warnings)
		}
	}
}

// An undeletable store lets objects be deleted, or not.
type undeletable struct {
	binarycache.Store
	may bool
}

func (s *undeletable) Delete(ctx context.Context, name string, c binarycache.Condition) error {
	if !s.may {
		return &fs.PathError{Op: "delete", Path: name, Err: fs.ErrPermission}
	}
	return s.Store.Delete(ctx, name, c)
}
