package macho_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"narseal/macho"
	"narseal/macho/internal/pagehash"
	"narseal/macho/machotest"
)

// NARSEAL_TEST_LANES=N has all tests of this package hash at most N pages at once, as on a processor that can do no more: 4
// without AVX-512, 1 without the SHA extensions.
func TestMain(m *testing.M) {
	if s := os.Getenv("NARSEAL_TEST_LANES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			fmt.Fprintln(os.Stderr, "NARSEAL_TEST_LANES:", err)
			os.Exit(2)
		}
		pagehash.LimitLanes(n)
	}
	os.Exit(m.Run())
}

// TestLanes runs the tests that have every kind of CodeDirectory with fewer lanes.
func TestLanes(t *testing.T) {
	for _, n := range []int{1, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			defer pagehash.LimitLanes(n)()
			t.Run("valid", TestMatrixValid)
			t.Run("rewrite", TestMatrixRewrite)
			t.Run("view", TestView)
			t.Run("damage", TestDamagedPages)
		})
	}
}

// TestDamagedPages damages pages at random: those must be reported and repaired, of CodeDirectories of several hash types
// and page sizes. With the tiny pages, more come together than are hashed together.
func TestDamagedPages(t *testing.T) {
	const size = 300_001
	intact, layout := machotest.Image{CodeSize: size, Directories: []machotest.Directory{
		{PageShift: 12}, {Slot: 0x1000, HashType: 1, PageShift: 13}, {Slot: 0x1001, HashType: 3, PageShift: 12},
		{Slot: 0x1002, PageShift: 4}, {Slot: 0x1003, HashType: 4, PageShift: 14}, {Slot: 0x1004, PageShift: 19},
	}}.Build()
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 20 {
		data := bytes.Clone(intact)
		var touched []macho.Range
		for range 1 + rng.IntN(1<<(round%10)) {
			at := 20_000 + rng.IntN(size-20_000)
			data[at] ^= 1 + byte(rng.IntN(255))
			touched = append(touched, macho.Range{Off: int64(at), Len: 1})
		}
		for view, image := range views {
			directories := mustVerify(t, image(data)).Slices[0].CodeDirectories
			for i, d := range layout.Directories {
				var want []int
				for _, p := range d.Pages {
					if !bytes.Equal(data[p.From:p.To], intact[p.From:p.To]) {
						want = append(want, p.Page)
					}
				}
				if got := directories[i].Stale; !slices.Equal(got, want) {
					t.Errorf("round %d: %s: CodeDirectory %d: %d stale pages, want %d", round, view, i, len(got), len(want))
				}
			}
			for _, touched := range [][]macho.Range{nil, touched} {
				repaired := bytes.Clone(data)
				if _, err := repair(macho.Config{}, image(repaired), touched); err != nil {
					t.Fatalf("round %d: %s: repair: %v", round, view, err)
				}
				// The kernel would refuse the sizes of some pages, whatever their hashes.
				for i, d := range mustVerify(t, image(repaired)).Slices[0].CodeDirectories {
					if len(d.Stale) != 0 {
						t.Errorf("round %d: %s: CodeDirectory %d: pages %v are stale after the repair", round, view, i, d.Stale)
					}
				}
			}
		}
	}
}
