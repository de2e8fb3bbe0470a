package binarycache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
)

// An unreadableStore says odd things of one object when it is read.
type unreadableStore struct {
	*cachetest.Memory
	name       string
	open, stat bool // what fails
}

func (s *unreadableStore) Open(ctx context.Context, name string) (io.ReadCloser, binarycache.Object, error) {
	if s.open && name == s.name {
		return nil, binarycache.Object{}, errInjected
	}
	return s.Memory.Open(ctx, name)
}

func (s *unreadableStore) Stat(ctx context.Context, name string) (binarycache.Object, error) {
	if s.stat && name == s.name {
		return binarycache.Object{}, errInjected
	}
	return s.Memory.Stat(ctx, name)
}

// An object of the output that cannot be read makes its path fail, and no other.
func TestUnreadableObject(t *testing.T) {
	var members []member
	for i := range 20 {
		base := fmt.Sprintf("%032d-path", i)
		members = append(members, member{base: base, nar: nar("path " + base), compression: compression.None})
		if i > 0 {
			members[i].refs = []string{members[i-1].base}
		}
	}
	whole := cachetest.NewMemory(nil)
	o := binarycache.RewriteOptions{Output: whole}
	if _, err := binarycache.Rewrite(t.Context(), memoryCache(t, members...), o); err != nil {
		t.Fatal(err)
	}
	info := members[5].base[:32] + ".narinfo"
	url := line(whole.Objects()[info], "URL")
	for name, s := range map[string]*unreadableStore{
		"NAR that is there":               {name: url, open: true},
		"NAR of which nobody knows":       {name: url, stat: true},
		"NAR about which nothing is said": {name: url, open: true, stat: true},
		"narinfo":                         {name: info, open: true},
	} {
		for _, jobs := range []int{1, 5} {
			there := map[string]string{url: whole.Objects()[url]}
			if name == "narinfo" {
				there[info] = whole.Objects()[info]
			}
			s.Memory = cachetest.NewMemory(there)
			o.Output, o.Jobs = s, jobs
			sum, err := binarycache.Rewrite(t.Context(), memoryCache(t, members...), o)
			if err != nil || statuses(sum) != "failed=1 unchanged=19" {
				t.Errorf("%s, %d jobs: %s, %v", name, jobs, statuses(sum), err)
			}
		}
	}
}

// The same for logs and realisations: all others are written, and the run fails at its end.
func TestUnreadableOther(t *testing.T) {
	files := withOthers(t)
	whole := cachetest.NewMemory(nil)
	o := binarycache.RewriteOptions{Output: whole}
	if _, err := binarycache.Rewrite(t.Context(), cachetest.NewMemory(files), o); err != nil {
		t.Fatal(err)
	}
	log := "log/" + hash("d") + "-app.drv"
	for _, name := range []string{log, hash("l") + ".narinfo"} {
		s := &unreadableStore{Memory: cachetest.NewMemory(nil), name: name, stat: true}
		o.Output = s
		_, err := binarycache.Rewrite(t.Context(), cachetest.NewMemory(files), o)
		want := maps.Clone(othersOf(whole.Objects()))
		if name == log {
			delete(want, log)
		} else {
			delete(want, "realisations/"+drvID+"!out.doi")
		}
		if got := othersOf(s.Objects()); !errors.Is(err, errInjected) || !maps.Equal(got, want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if strings.HasPrefix(name, "log/") && s.Objects()[hash("a")+".narinfo"] == "" {
			t.Error("no paths are written")
		}
	}
}
