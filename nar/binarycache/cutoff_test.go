package binarycache_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/folder"
)

// before returns the objects that are there when this one is written: narinfos are the last.
func before(objects map[string]string, name string) map[string]string {
	left := maps.Clone(objects)
	for other := range left {
		if strings.HasSuffix(other, ".narinfo") && name != "nix-cache-info" && !strings.HasSuffix(name, ".narinfo") {
			delete(left, other)
		}
	}
	return left
}

// What an upload that was cut off has left is written again: an earlier run was killed, on a server that keeps what has
// come. What is of somebody else stays.
func TestCutOffUploads(t *testing.T) {
	secret, _ := keyPair(t, "test-1")
	listing := `{"version":1,"root":{"type":"directory","entries":{"bin":{"type":"directory","entries":{"x":{"type":"regular","size":3,"narOffset":0}}}}}}`
	in := newCache(t, member{base: hash("a") + "-a", nar: nar("broken " + hash("b")), listing: listing}, member{base: hash("b") + "-b", nar: nar("whole"), listing: listing})
	// The first debuginfo follows its NAR, which gets another name; the second is copied.
	write(t, in, map[string]string{"log/" + hash("a") + "-x.drv": "what the builder says",
		"debuginfo/aa": `{"archive":"../` + line(read(t, in)[hash("a")+".narinfo"], "URL") + `","member":"lib/x"}`,
		"debuginfo/bb": `{"archive":"../` + line(read(t, in)[hash("b")+".narinfo"], "URL") + `","member":"lib/x"}`})
	for name, o := range map[string]binarycache.RewriteOptions{"output": {}, "overlay": {Overlay: true}} {
		repairing(&o)
		o.SecretKeys = append(o.SecretKeys, secret)
		whole := t.TempDir()
		o.Output = folder.New(whole)
		rewrite(t, in, o)
		want := read(t, whole)
		if len(want) < 4 {
			t.Fatalf("%s: %d objects", name, len(want))
		}
		for cut, text := range want {
			for _, size := range []int{0, 1, len(text) / 2, max(0, len(text)-20)} {
				out := t.TempDir()
				left := before(want, cut)
				left[cut] = text[:size]
				write(t, out, left)
				o.Output = folder.New(out)
				sum, _ := rewrite(t, in, o)
				if sum.Paths[binarycache.Failed] > 0 || !maps.Equal(read(t, out), want) {
					t.Errorf("%s: %d bytes of %s: %s, not as if it had not been cut off", name, size, cut, statuses(sum))
				}
			}
			if cut == "nix-cache-info" {
				continue
			}
			out := t.TempDir()
			left := before(want, cut)
			left[cut] = "other" + text[:len(text)/2]
			write(t, out, left)
			o.Output = folder.New(out)
			results := map[string]error{}
			o.Done = func(r binarycache.Result) { results[r.Info] = r.Err }
			if _, err := binarycache.Rewrite(t.Context(), folder.New(in), o); err != nil {
				t.Errorf("%s: another %s: the run ends: %v", name, cut, err)
			}
			if got := read(t, out); got[cut] != left[cut] {
				t.Errorf("%s: another %s was replaced", name, cut)
			}
			failed := 0
			for _, err := range results {
				if err != nil {
					if failed++; !errors.Is(err, binarycache.ErrConflict) && !errors.Is(err, binarycache.ErrMismatch) {
						t.Errorf("%s: another %s: %v", name, cut, err)
					}
				}
			}
			if (strings.HasSuffix(cut, ".narinfo") || strings.HasPrefix(cut, "nar/")) && failed != 1 {
				t.Errorf("%s: another %s: %d paths failed", name, cut, failed)
			}
		}
	}
}
