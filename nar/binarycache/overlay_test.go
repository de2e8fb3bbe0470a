package binarycache_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
	"narseal/nar/binarycache/narinfo"
)

// opening counts the NARs that are read.
type opening struct {
	binarycache.Store
	nars atomic.Int64
}

func (s *opening) Open(ctx context.Context, name string) (io.ReadCloser, binarycache.Object, error) {
	if strings.HasPrefix(name, "nar/") {
		s.nars.Add(1)
	}
	return s.Store.Open(ctx, name)
}

func TestOverlay(t *testing.T) {
	secret, public := keyPair(t, "fix-1")
	_, upstream := keyPair(t, "upstream-1")
	refs := []string{hash("a") + "-a", hash("b") + "-b"}
	dir := newCache(t,
		member{base: hash("a") + "-a", nar: nar("broken"), refs: refs, extra: "Deriver: " + hash("d") + "-a.drv\nSig: upstream-1:" + strings.Repeat("A", 86) + "==\n"},
		member{base: hash("b") + "-b", nar: nar("fine")})
	before := read(t, dir)
	out := filepath.Join(t.TempDir(), "overlay")
	o := binarycache.RewriteOptions{Output: folder.New(out), Overlay: true, SecretKeys: []signature.SecretKey{secret}}
	repairing(&o)
	sum, _ := rewrite(t, dir, o)
	if got := statuses(sum); got != "changed=1 unchanged=1" {
		t.Errorf("%s", got)
	}
	overlay := read(t, out)
	info := overlay[hash("a")+".narinfo"]
	if len(overlay) != 3 || info == "" {
		t.Fatalf("the overlay has %q", slices.Sorted(maps.Keys(overlay)))
	}
	if got, want := overlay["nix-cache-info"], "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n"; got != want {
		t.Errorf("nix-cache-info: %q, want %q", got, want)
	}
	if line(info, "References") != strings.Join(refs, " ") || line(info, "Deriver") != hash("d")+"-a.drv" || strings.Contains(info, "upstream-1") {
		t.Errorf("narinfo:\n%s", info)
	}
	if !maps.Equal(read(t, dir), before) {
		t.Error("the input has changed")
	}
	for key, want := range map[*signature.PublicKey]string{&public: "verified=1", &upstream: "failed=1"} {
		sum, err := binarycache.Verify(t.Context(), folder.New(out), binarycache.VerifyOptions{Options: binarycache.Options{TrustedKeys: []signature.PublicKey{*key}}})
		if got := statuses(sum); err != nil || got != want {
			t.Errorf("signed by %s: %s, %v, want %s", key.Name, got, err, want)
		}
	}

	// Another run changes nothing, asks the overlay for what changes only, and keeps its nix-cache-info.
	write(t, out, map[string]string{"nix-cache-info": "StoreDir: /nix/store\nPriority: 7\n"})
	overlay = read(t, out)
	rewrite(t, dir, o)
	if !maps.Equal(read(t, out), overlay) {
		t.Error("the second run has changed the overlay")
	}

	// A path that is rebuilt, and broken again, takes the place of what was made before; not that of somebody else.
	fill(t, dir, member{base: hash("a") + "-a", nar: nar("broken again"), refs: refs})
	if sum, _ := rewrite(t, dir, o); statuses(sum) != "changed=1 unchanged=1" {
		t.Errorf("rebuilt: %s", statuses(sum))
	}
	if got := read(t, out)[hash("a")+".narinfo"]; line(got, "NarHash") != sha(nar("sealed again")) {
		t.Errorf("rebuilt:\n%s", got)
	}
	other, _ := keyPair(t, "other-1")
	o.SecretKeys = []signature.SecretKey{other}
	fill(t, dir, member{base: hash("a") + "-a", nar: nar("broken again and again"), refs: refs})
	if sum, results := rewrite(t, dir, o); statuses(sum) != "failed=1 unchanged=1" || !errors.Is(results[hash("a")+".narinfo"].Err, binarycache.ErrConflict) {
		t.Errorf("of another key: %s, %v", statuses(sum), results)
	}
}

func TestOverlayPriority(t *testing.T) {
	for _, c := range []struct {
		text     string
		priority int
		want     string
	}{
		{"StoreDir: /nix/store\nWantMassQuery: 0\nPriority: 40\n", 0, "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n"},
		{"StoreDir: /nix/store\n", 0, "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n"},
		{"", 0, "WantMassQuery: 1\nPriority: 40\n"},
		{"Priority: x\nOther: y", 0, "Other: y\nWantMassQuery: 1\nPriority: 40\n"},
		{"Priority: 10\n", 0, "WantMassQuery: 1\nPriority: 1\n"},
		{"Priority: 1\n", 0, "WantMassQuery: 1\nPriority: 1\n"},
		{"Priority: -5\n", 0, "WantMassQuery: 1\nPriority: 1\n"},
		{"Priority: 11\nStoreDir: /x\n", 0, "StoreDir: /x\nWantMassQuery: 1\nPriority: 1\n"},
		{"Priority: 40\n", 5, "WantMassQuery: 1\nPriority: 5\n"},
	} {
		i, err := narinfo.ParseCacheInfo([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(i.Overlay(c.priority)); got != c.want {
			t.Errorf("%q with %d: %q, want %q", c.text, c.priority, got, c.want)
		}
	}
}

// What the caller knows to be finished costs one object, its narinfo.
func TestSkip(t *testing.T) {
	objects, err := cachetest.Objects(paths(closure())...)
	if err != nil {
		t.Fatal(err)
	}
	_, public := keyPair(t, "other-1")
	for name, c := range map[string]struct {
		keys []signature.PublicKey
		want string
	}{
		"trusted":   {nil, "skipped=2 verified=1"},
		"untrusted": {[]signature.PublicKey{public}, "failed=3"},
	} {
		o := binarycache.Options{Jobs: 2, TrustedKeys: c.keys, Skip: func(_ context.Context, n *narinfo.Info) (bool, error) { return n.Base[0] != 'q', nil }}
		o.Done = func(r binarycache.Result) {
			if r.Status != binarycache.Failed && (r.NarHash == "" || r.Modified.IsZero()) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		s := &opening{Store: cachetest.NewMemory(objects)}
		sum, err := binarycache.Verify(t.Context(), s, binarycache.VerifyOptions{Options: o})
		if got := statuses(sum); err != nil || got != c.want {
			t.Errorf("verify, %s: %s, %v, want %s", name, got, err, c.want)
		}
		if c.keys == nil && s.nars.Load() != 1 {
			t.Errorf("%d NARs were read", s.nars.Load())
		}
		memory := cachetest.NewMemory(objects)
		sum, err = binarycache.Rewrite(t.Context(), memory, binarycache.RewriteOptions{Options: o})
		if got := statuses(sum); err != nil || got != strings.Replace(c.want, "skipped=2 verified=1", "skipped=2 unchanged=1", 1) {
			t.Errorf("rewrite, %s: %s, %v", name, got, err)
		}
	}
}
