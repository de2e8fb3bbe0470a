package binarycache_test

import (
	"sync/atomic"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
)

// What is announced is what is done in the end, and it has all that is read, compressed and written.
func TestProgress(t *testing.T) {
	big := nar("broken " + noise(1<<20))
	members := append(closure(), member{base: hash("b") + "-big", nar: big, compression: compression.None},
		member{base: hash("c") + "-damaged", nar: nar("broken")}, member{base: hash("f") + "-fine", nar: nar("fine"), compression: compression.None})
	damaged := hash("c") + ".narinfo"
	for _, mode := range []string{"in place", "output", "again", "dry run"} {
		files := objects(t, members...)
		files[line(files[damaged], "URL")] = "garbage"
		out := cachetest.NewMemory(nil)
		o := binarycache.RewriteOptions{DryRun: mode == "dry run"}
		replacing(&o, hash("l"), hash("0"), "broken", "sealed")
		if mode == "output" || mode == "again" {
			o.Output = out
		}
		in := cachetest.NewMemory(files)
		if mode == "again" {
			if _, err := binarycache.Rewrite(t.Context(), in, o); err != nil {
				t.Fatal(err)
			}
		}
		var read, written atomic.Int64
		var most, last int64
		o.Read = func(n int) { read.Add(int64(n)) }
		o.Written = func(n int) { written.Add(int64(n)) }
		o.Planned = func(_ int, n int64) { most, last = max(most, n), n }
		o.Jobs = 3
		sum, err := binarycache.Rewrite(t.Context(), in, o)
		if err != nil || sum.Paths[binarycache.Failed] != 1 {
			t.Fatal(statuses(sum), err)
		}
		if done := read.Load() + written.Load(); done != last {
			t.Errorf("%s: %d bytes done, %d announced", mode, done, last)
		}
		if read.Load() < int64(len(big)) {
			t.Errorf("%s: %d bytes read of NARs with more than %d", mode, read.Load(), len(big))
		}
		// The large one is compressed, and written.
		want := map[string]int64{"in place": 2 * int64(len(big)), "output": 2 * int64(len(big))}[mode]
		if got := written.Load(); got < want || want == 0 && got != 0 || most < last {
			t.Errorf("%s: %d bytes written, want %d; %d announced, %d at the end", mode, got, want, most, last)
		}
		t.Log(mode, ": ", read.Load(), " read, ", written.Load(), " written")
	}
}
