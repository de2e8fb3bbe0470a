package filter

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mention is what ScanRefs reports.
type mention struct {
	off  int
	name string
	enc  Encodings
}

var refPattern = regexp.MustCompile(`^/nix/store/([0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+\-._?=]{1,211})`)

// refsOracle tries a regular expression at each place in each encoding.
func refsOracle(in []byte, enc Encodings) (found []mention) {
next:
	for at := 0; at < len(in); at++ {
		for _, c := range codecs {
			width := c.enc.width()
			var text []byte
			for q := at; q+width <= len(in) && len(text) < 300; q += width {
				char := strings.Trim(string(in[q:q+width]), "\x00")
				if string(c.encode(char)) != string(in[q:q+width]) {
					break
				}
				text = append(text, char...)
			}
			if m := refPattern.FindSubmatch(text); m != nil && enc&c.enc != 0 {
				char := strings.IndexByte(string(in[at:]), '/')
				found = append(found, mention{at + char, string(m[1]), c.enc})
				at += len(m[0])*width - 1
				continue next
			}
		}
	}
	return found
}

const dir = "/nix/store"

func scanRefs(t *testing.T, in []byte, enc Encodings, size int) (found []mention) {
	t.Helper()
	base, read := 0, 0
	for {
		read = min(len(in), read+size)
		buf, final := in[base:read], read == len(in)
		settled := ScanRefs(buf, final, dir, enc, func(off int, name []byte, enc Encodings) {
			found = append(found, mention{base + off, string(name), enc})
		})
		if hold := len(buf) - settled; hold < 0 || hold >= refLen(dir, enc) || final && hold != 0 {
			t.Fatalf("ScanRefs left %d of %d bytes", hold, len(buf))
		}
		base += settled
		if final {
			return found
		}
	}
}

func TestScanRefs(t *testing.T) {
	for _, test := range []struct {
		in   string
		want []mention
	}{
		{"", nil},
		{"/nix/store/{A}-x", []mention{{0, "{A}-x", 0}}},
		{"see /nix/store/{A}-x/bin:/nix/store/{B}-y-1.0/lib", []mention{{4, "{A}-x", 0}, {54, "{B}-y-1.0", 0}}},
		{"/nix/store//nix/store/{A}-x", []mention{{11, "{A}-x", 0}}},
		{"/nix/store/{A}", nil},
		{"/nix/store/{A}-", nil},
		{"/nix/store/{A}-/", nil},
		{"/nix/store/{A}x-y", nil},
		{"/nix/store/0{A}-y", nil},
		{"/nix/store/" + hashA[1:] + "-y", nil},
		{"/nix/store/e" + hashA[1:] + "-y", nil},
		{"/nix/stor/{A}-y /gnu/store/{A}-y", nil},
		{"nix/store/{A}-y", nil},
		{"a/nix/store/{A}-" + strings.Repeat("y", 300), []mention{{1, "{A}-" + strings.Repeat("y", 211), 0}}},
		{"/nix/store/{A}-/nix/store/{B}-y", []mention{{43 + 1, "{B}-y", 0}}},
	} {
		for _, c := range codecs {
			want := slices.Clone(test.want)
			for i := range want {
				char := strings.IndexByte(string(c.encode("/")), '/')
				want[i] = mention{want[i].off*c.enc.width() + char, expand(want[i].name), c.enc}
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
func TestScanRefsEveryBoundary(t *testing.T) {
	for _, c := range codecs {
		for offset := range 4 * sampleStep {
			if offset%exhaustiveStep != 0 {
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
