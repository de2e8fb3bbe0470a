package filter_test

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
	"narseal/macho/machotest"
)

// Whatever is damaged in a bundle, a repair that reports nothing has made all of it valid, and so has a rewrite, but for
// what was damaged where it changed nothing. NARSEAL_MUTANTS is how many there are.
func TestResealMutants(t *testing.T) {
	count := 300
	if s := os.Getenv("NARSEAL_MUTANTS"); s != "" {
		var err error
		if count, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	low, high := hashOf('1'), hashOf('z')
	rule, err := rules.Parse(low + "=" + high)
	if err != nil {
		t.Fatal(err)
	}
	var trees []machotest.Tree
	for _, c := range resealCases() {
		trees = append(trees, c.build(low))
	}
	rng := rand.New(rand.NewPCG(7, 8))
	// A malformed image does not end the run.
	touched := filter.Config{Rules: compile(t, rule), Signatures: filter.SignatureOptions{OnCMS: macho.CMSKeep}}
	repaired, reported := 0, 0
	for n := range count {
		tree := maps.Clone(trees[rng.IntN(len(trees))])
		paths := slices.Sorted(maps.Keys(tree))
		if rng.IntN(3) > 0 {
			paths = slices.DeleteFunc(paths, func(p string) bool {
				return !strings.HasSuffix(p, "/CodeResources") && !strings.HasSuffix(p, "Info.plist")
			})
		}
		path := paths[rng.IntN(len(paths))]
		f := tree[path]
		f.Data = mutate(rng, f.Data)
		if tree[path] = f; rng.IntN(20) == 0 {
			delete(tree, path)
		}
		archive := narOf(tree)
		all := filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairAll}}
		got, invalid, res := runFilter(t, all, archive, "stream")
		if found := verifyBundles(t, got); len(invalid) == 0 && found != "" || len(got) != len(archive) {
			t.Fatalf("mutant %d, of %s: nothing is reported, but: %s", n, path, found)
		}
		if res.Repaired > 0 {
			repaired++
		}
		if len(invalid) > 0 {
			reported++
		}
		got, invalid, _ = runFilter(t, touched, archive, "file")
		again, _, _ := runFilter(t, all, got, "stream")
		if found := verifyBundles(t, got); len(invalid) == 0 && found != "" && verifyBundles(t, archive) == "" {
			t.Fatalf("mutant %d, of %s, rewritten: nothing is reported, but: %s", n, path, found)
		}
		if len(again) != len(archive) {
			t.Fatalf("mutant %d: %d bytes, were %d", n, len(again), len(archive))
		}
	}
	t.Logf("%d of %d mutants were repaired, %d were reported", repaired, count, reported)
}

// mutate changes some bytes, mostly in one place.
func mutate(rng *rand.Rand, data []byte) []byte {
	data = slices.Clone(data)
	for range 1 + rng.IntN(3) {
		if len(data) == 0 {
			return []byte("x")
		}
		at := rng.IntN(len(data))
		switch rng.IntN(4) {
		case 0:
			data[at] ^= 1 << rng.IntN(8)
		case 1:
			data[at] = byte(rng.Uint32())
		case 2:
			data = slices.Delete(data, at, min(len(data), at+1+rng.IntN(100)))
		case 3:
			from := rng.IntN(len(data))
			data = slices.Insert(data, at, data[from:min(len(data), from+1+rng.IntN(100))]...)
		}
	}
	return data
}
