package filter_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho/machotest"
)

// randomBundle returns a bundle of a random form, with bundles in it up to a depth. pick returns the text of each file in
// turn, so that two bundles of one shape can differ in some files.
func randomBundle(shape *rand.Rand, depth int, pick func() string, order func(string) string) *machotest.SealedBundle {
	b := &machotest.SealedBundle{Order: order, Executable: []string{"App", "lower"}[shape.IntN(2)], Files: map[string]any{}}
	b.Form = []string{"contents", "framework", "flat"}[shape.IntN(3)]
	b.BinaryList, b.AsFiles, b.Fat = shape.IntN(3) == 0, shape.IntN(4) == 0, shape.IntN(4) == 0
	b.Digests = [][]string{nil, {"hash2"}, {"hash", "hash3", "hash4"}}[shape.IntN(3)]
	directories := func() []machotest.Directory {
		all := slices.Clone([][]machotest.Directory{{{PageShift: 12}}, dual, {{HashType: 4, PageShift: 12}}}[shape.IntN(3)])
		for i := range all {
			all[i].Identifier = fmt.Sprintf("narseal.%016x", shape.Uint64())
		}
		return all
	}
	b.Image = machotest.Image{Text: []byte(pick()), CodeSize: 20_000, Directories: directories()}
	b.Info = "<plist><dict><key>CFBundleExecutable</key><string>" + b.Executable + "</string><key>x</key><string>" + fmt.Sprint(shape.Uint64(), " ") + pick() + "</string></dict></plist>"
	for i := range shape.IntN(6) {
		// In a binary list, equal contents are one value, which cannot become two.
		b.Files[fmt.Sprint([]string{"Resources/", "Resources/en.lproj/", "", "z"}[shape.IntN(4)], "f", i)] = fmt.Sprint(i, " ", depth, shape.Uint64(), " ", pick())
	}
	for i := range shape.IntN(3) {
		b.Files[fmt.Sprintf("Frameworks/l%d.dylib", i)] = machotest.Image{Text: []byte(pick()), CodeSize: 17_000 + 16*shape.IntN(100), Directories: directories()}
	}
	for i := range shape.IntN(3) {
		if depth > 0 {
			inner := randomBundle(shape, depth-1, pick, order)
			dir := []string{"Frameworks/", "PlugIns/", "Resources/"}[shape.IntN(3)]
			if dir == "Resources/" && !b.AsFiles {
				dir = "Helpers/"
			}
			b.Files[fmt.Sprint(dir, "N", i, ".app")] = inner
			if inner.Form != "framework" && inner.Executable != "App" {
				// Without an Info.plist that says so, the executable has the name of the bundle.
				inner.Executable = "lower"
			}
		}
	}
	return b
}

// Some files of random bundles get other contents, by a rewrite and by others. The bundle with a new seal is the one that is
// made with these contents.
func TestResealRandom(t *testing.T) {
	low, high := hashOf('1'), hashOf('z')
	rule, err := rules.Parse(low + "=" + high)
	if err != nil {
		t.Fatal(err)
	}
	order := func(key string) string { return strings.NewReplacer(low, "@", high, "@").Replace(key) }
	for seed := range uint64(60) {
		build := func(changed func() string) machotest.Tree {
			return in("x/A.app", randomBundle(rand.New(rand.NewPCG(seed, 1)), 3, changed, order))
		}
		choose := rand.New(rand.NewPCG(seed, 2))
		some := func() string {
			if choose.IntN(3) == 0 {
				return high
			}
			return strings.Repeat("0", 32)
		}
		a := build(func() string { return strings.Repeat("0", 32) })
		b := build(some)
		if got := verifyBundles(t, narOf(a)); got != "" {
			t.Fatalf("seed %d: as it is made: %s", seed, got)
		}
		// What is in b, and the seals of a.
		broken := machotest.Tree{}
		for path, f := range a {
			if !strings.HasSuffix(path, "/CodeResources") && !f.Executable {
				f = b[path]
			} else if f.Executable && bytes.Contains(b[path].Data, []byte(high)) {
				f.Data = bytes.ReplaceAll(f.Data, []byte(strings.Repeat("0", 32)), []byte(high))
			}
			broken[path] = f
		}
		c := filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairAll}}
		got, invalid, _ := runFilter(t, c, narOf(broken), []string{"stream", "little memory"}[seed%2])
		if len(invalid) > 0 || !bytes.Equal(got, narOf(b)) {
			t.Errorf("seed %d: invalid: %v, %s", seed, invalid, verifyBundles(t, got))
		}
		// The same by a rewrite, of files that have the hash.
		choose = rand.New(rand.NewPCG(seed, 3))
		texts := []string{}
		c1 := build(func() string {
			texts = append(texts, []string{low, strings.Repeat("0", 32)}[choose.IntN(2)])
			return texts[len(texts)-1]
		})
		k := 0
		c2 := build(func() string { k++; return strings.ReplaceAll(texts[k-1], low, high) })
		got, invalid, _ = runFilter(t, filter.Config{Rules: compile(t, rule)}, narOf(c1), "stream")
		if len(invalid) > 0 || !bytes.Equal(got, narOf(c2)) {
			t.Errorf("seed %d, rewritten: invalid: %v, differs at %d, %s", seed, invalid, firstDifference(got, narOf(c2)), verifyBundles(t, got))
		}
	}
}
