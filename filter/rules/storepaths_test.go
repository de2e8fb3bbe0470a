package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"narseal/filter/rules/rulestest"
)

// foundRef is what ScanStorePaths reports.
type foundRef struct {
	off  int
	name string
	enc  Encodings
}

func refsOracle(in []byte, enc Encodings) (found []foundRef) {
	for _, p := range rulestest.StorePaths(in, uint8(enc)) {
		found = append(found, foundRef{p.Off, p.Base, Encodings(p.Enc)})
	}
	return found
}

const dir = "/nix/store"

func scanRefs(t *testing.T, in []byte, enc Encodings, size int) (found []foundRef) {
	t.Helper()
	base, read := 0, 0
	for {
		read = min(len(in), read+size)
		buf, final := in[base:read], read == len(in)
		settled := ScanStorePaths(buf, final, dir, enc, func(off int, name []byte, enc Encodings) {
			found = append(found, foundRef{base + off, string(name), enc})
		})
		if hold := len(buf) - settled; hold < 0 || hold >= refLen(dir, enc) || final && hold != 0 {
			t.Fatalf("ScanStorePaths left %d of %d bytes", hold, len(buf))
		}
		base += settled
		if final {
			return found
		}
	}
}

func TestScanStorePaths(t *testing.T) {
	for _, test := range []struct {
		in   string
		want []foundRef
	}{
		{"", nil},
		{"/nix/store/{A}-x", []foundRef{{0, "{A}-x", 0}}},
		{"see /nix/store/{A}-x/bin:/nix/store/{B}-y-1.0/lib", []foundRef{{4, "{A}-x", 0}, {54, "{B}-y-1.0", 0}}},
		{"/nix/store//nix/store/{A}-x", []foundRef{{11, "{A}-x", 0}}},
		{"/nix/store/{A}", nil},
		{"/nix/store/{A}-", nil},
		{"/nix/store/{A}-/", nil},
		{"/nix/store/{A}x-y", nil},
		{"/nix/store/0{A}-y", nil},
		{"/nix/store/" + hashA[1:] + "-y", nil},
		{"/nix/store/e" + hashA[1:] + "-y", nil},
		{"/nix/stor/{A}-y /gnu/store/{A}-y", nil},
		{"nix/store/{A}-y", nil},
		{"a/nix/store/{A}-" + strings.Repeat("y", 300), []foundRef{{1, "{A}-" + strings.Repeat("y", 211), 0}}},
		{"/nix/store/{A}-/nix/store/{B}-y", []foundRef{{43 + 1, "{B}-y", 0}}},
	} {
		for _, c := range codecs {
			want := slices.Clone(test.want)
			for i := range want {
				char := strings.IndexByte(string(c.encode("/")), '/')
				want[i] = foundRef{want[i].off*c.enc.Width() + char, expand(want[i].name), c.enc}
			}
			in := c.encode(expand(test.in))
			if got := refsOracle(in, AllEncodings); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: in %q oracle found %v, want %v", c.name, test.in, got, want)
			}
			if got := scanRefs(t, in, c.enc, len(in)+1); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: in %q found %v, want %v", c.name, test.in, got, want)
			}
			if got := scanRefs(t, in, AllEncodings&^c.enc, len(in)+1); got != nil {
				t.Errorf("%s: in %q found %v in other encodings", c.name, test.in, got)
			}
		}
	}
}

// Every encoding, chunk size and offset.
func TestScanStorePathsEveryBoundary(t *testing.T) {
	for _, c := range codecs {
		for offset := range 4 * sampleStep {
			if offset%rulestest.ExhaustiveStep != 0 {
				continue
			}
			in := append(make([]byte, offset), c.encode(expand("/nix/store/{A}-name /nix/store/{B}-n"))...)
			in = append(in, make([]byte, offset%5)...)
			want := refsOracle(in, AllEncodings)
			if len(want) != 2 {
				t.Fatalf("oracle found %v in %q", want, in)
			}
			for size := 1; size <= len(in); size++ {
				if got := scanRefs(t, in, AllEncodings, size); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("%s, %d bytes at a time: in %q found %v, want %v", c.name, size, in, got, want)
				}
			}
		}
	}
}
