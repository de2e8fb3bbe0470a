package bundle_test

import (
	"fmt"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/macho/machotest"
)

// sealedSlice returns the slice of an image that seals these contents in slots -1 and -3, in CodeDirectories of every
// hash type.
func sealedSlice(t *testing.T, external map[int][]byte) macho.Slice {
	t.Helper()
	im := machotest.Image{External: external}
	for i, h := range []uint8{1, 2, 3, 4, 5} {
		d := machotest.Directory{HashType: h, PageShift: 12}
		if i > 0 {
			d.Slot = 0x1000 + uint32(i) - 1
		}
		im.Directories = append(im.Directories, d)
	}
	data, _ := im.Build()
	report, err := macho.Verify(macho.Bytes(data))
	if err != nil {
		t.Fatal(err)
	}
	s := report.Slices[0]
	s.Status, s.Reason = macho.StatusValid, "" // the kernel refuses SHA-512, which is tested too
	return s
}

func fileDigest(data string) *bundle.FileDigest {
	d := bundle.NewFileDigest()
	for i := range len(data) { // in pieces
		d.Write([]byte(data[i : i+1]))
	}
	return d
}

func TestChecker(t *testing.T) {
	both := map[int][]byte{1: []byte("plist"), 3: []byte("resources")}
	plist := map[int][]byte{1: []byte("plist")}
	type file struct{ path, data string }
	for _, test := range []struct {
		name     string
		external map[int][]byte
		image    string
		files    []file // those outside _CodeSignature are added before the image
		want     macho.Status
	}{
		{"application", both, "/A.app/Contents/MacOS/A", []file{{"/A.app/Contents/Info.plist", "plist"}, {"/A.app/Contents/_CodeSignature/CodeResources", "resources"}}, macho.StatusValid},
		{"its Info.plist", both, "/A.app/Contents/MacOS/A", []file{{"/A.app/Contents/Info.plist", "Plist"}, {"/A.app/Contents/_CodeSignature/CodeResources", "resources"}}, macho.StatusBundle},
		{"its CodeResources", both, "/A.app/Contents/MacOS/A", []file{{"/A.app/Contents/Info.plist", "plist"}, {"/A.app/Contents/_CodeSignature/CodeResources", "resourceS"}}, macho.StatusBundle},
		{"its CodeResources alone", both, "/A.app/Contents/MacOS/A", []file{{"/A.app/Contents/_CodeSignature/CodeResources", ""}}, macho.StatusBundle},
		{"a directory that is not Contents", plist, "/MacOS/A", []file{{"/Info.plist", "else"}}, macho.StatusValid},
		{"framework", both, "/F.framework/Versions/A/F", []file{{"/F.framework/Versions/A/Resources/Info.plist", "plist"}, {"/F.framework/Versions/A/_CodeSignature/CodeResources", "resources"}}, macho.StatusValid},
		{"its Info.plist", plist, "/F.framework/Versions/A/F", []file{{"/F.framework/Versions/A/Resources/Info.plist", "plisT"}}, macho.StatusBundle},
		{"flat", plist, "/A.app/A", []file{{"/A.app/Info.plist", "plist"}}, macho.StatusValid},
		{"its Info.plist", plist, "/A.app/A", []file{{"/A.app/Info.plist", "other"}}, macho.StatusBundle},
		{"either Info.plist", plist, "/A.app/A", []file{{"/A.app/Info.plist", "other"}, {"/A.app/Resources/Info.plist", "plist"}}, macho.StatusValid},
		{"in the root", plist, "/A", []file{{"/Info.plist", "other"}}, macho.StatusBundle},
		{"nothing there", both, "/A.app/Contents/MacOS/A", nil, macho.StatusValid},
		{"another bundle's", plist, "/A.app/Contents/MacOS/A", []file{{"/A.app/Info.plist", "other"}, {"/A.app/Contents/Resources/B/Info.plist", "other"}}, macho.StatusValid},
		{"nothing sealed", nil, "/A.app/Contents/MacOS/A", []file{{"/A.app/Contents/Info.plist", "other"}}, macho.StatusValid},
		{"no CodeResources there", both, "/A.app/A", []file{{"/A.app/CodeResources", "other"}}, macho.StatusValid},
	} {
		for _, touched := range []bool{false, true} {
			var c bundle.Checker
			var got []macho.Slice
			collect := func(s macho.Slice) { got = append(got, s) }
			add := func(f file) {
				d := fileDigest(f.data)
				d.Touched = touched
				c.AddFile(depth(f.path), text(f.path), d)
			}
			for _, f := range test.files {
				if !strings.Contains(f.path, "_CodeSignature") {
					add(f)
				}
			}
			c.AddSlice(depth(test.image), text(test.image), sealedSlice(t, test.external), collect)
			for _, f := range test.files {
				if strings.Contains(f.path, "_CodeSignature") {
					add(f)
				}
			}
			c.Reach(0)
			c.Reach(0)
			if len(got) != 1 {
				t.Fatalf("%s: returned %d times", test.name, len(got))
			}
			s := got[0]
			if s.Status != test.want || s.Touched != (touched && test.want == macho.StatusBundle) {
				t.Errorf("%s: %s, touched %v (%s), want %s", test.name, s.Status, s.Touched, s.Reason, test.want)
			}
			if (s.Reason != "") != (test.want == macho.StatusBundle) {
				t.Errorf("%s: %s because of %q", test.name, s.Status, s.Reason)
			}
		}
	}
}

// TestReach checks that a slice is returned when the walk leaves its bundle, and not before.
func TestReach(t *testing.T) {
	var c bundle.Checker
	returned := 0
	s := sealedSlice(t, map[int][]byte{1: []byte("plist")})
	c.AddSlice(depth("/x/A.app/Contents/MacOS/A"), text("/x/A.app/Contents/MacOS/A"), s, func(macho.Slice) { returned++ })
	for _, depth := range []int{6, 5, 4} { // Contents/Resources has four directories around it
		c.Reach(depth)
		if returned != 0 {
			t.Fatalf("returned at depth %d", depth)
		}
	}
	c.Reach(3) // what is beside Contents is not in the bundle
	if returned != 1 {
		t.Errorf("returned %d times after its end", returned)
	}
}

// TestBounds checks that memory is bounded for hostile trees: slices over the limit are not reported as valid, and
// those too deep in the tree do not wait.
func TestBounds(t *testing.T) {
	s := sealedSlice(t, map[int][]byte{1: []byte("plist")})
	var c bundle.Checker
	const n = 5000
	broken, returned := 0, 0
	for i := range n {
		c.AddSlice(depth(fmt.Sprintf("/A.app/%d", i)), text(fmt.Sprintf("/A.app/%d", i)), s, func(s macho.Slice) {
			returned++
			if s.Status == macho.StatusBundle {
				broken++
			}
		})
	}
	if returned == 0 || returned == n || broken != returned {
		t.Errorf("%d of %d returned at once, %d of them as broken", returned, n, broken)
	}
	first := returned
	c.Reach(0)
	if returned != n || broken != first {
		t.Errorf("%d of %d returned, %d as broken", returned, n, broken)
	}

	// A report with many stale slots takes the place of many reports.
	large := s
	large.CodeDirectories = []macho.CodeDirectory{{Stale: make([]int, 300_000)}}
	returned = 0
	for range 3 {
		c.AddSlice(depth("/A.app/A"), text("/A.app/A"), large, func(macho.Slice) { returned++ })
	}
	if returned != 2 {
		t.Errorf("%d of 3 slices with 300,000 stale slots wait, want 1", 3-returned)
	}
	c.Reach(0)

	returned = 0
	c.AddSlice(depth(strings.Repeat("/d", 100)+"/A"), text(strings.Repeat("/d", 100)+"/A"), s, func(macho.Slice) { returned++ })
	if returned != 1 {
		t.Error("a bundle at depth 100 waits")
	}
}

// TestWorse checks that a problem of the image itself is kept.
func TestWorse(t *testing.T) {
	s := sealedSlice(t, map[int][]byte{1: []byte("plist")})
	s.Status, s.Reason = macho.StatusStale, "stale code slots: 1"
	var c bundle.Checker
	c.AddSlice(depth("/A.app/A"), text("/A.app/A"), s, func(got macho.Slice) {
		if got.Status != macho.StatusStale || !strings.HasPrefix(got.Reason, s.Reason+"; bundle: ") {
			t.Errorf("%s: %s", got.Status, got.Reason)
		}
	})
	c.AddFile(depth("/A.app/Info.plist"), text("/A.app/Info.plist"), fileDigest("other"))
	c.Reach(0)
}

// depth and text are how a Checker is given a path.
func depth(path string) int { return strings.Count(path, "/") }

func text(path string) func() string { return func() string { return path } }
