package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"

	"narseal/filter"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

// verifyTree returns a tree of images of several sizes, some damaged, with large
// one that all goroutines look at together, and what a run has to find, in the archive's order.
func verifyTree(t *testing.T, large bool) (nartest.Dir, []filter.Signature) {
	t.Helper()
	tree := nartest.Dir{"text": nartest.File("no image")}
	var want []filter.Signature
	for i := range 30 {
		size := 20000 + 30000*(i%7)
		if large && i == 15 {
			size = 16<<20 + 5000
		}
		data, layout := machotest.Image{CodeSize: size, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		if i%3 == 0 {
			data[layout.Offset+layout.Directories[0].Hashes] ^= 1
		}
		name := fmt.Sprintf("image%02d", i)
		tree[name] = nartest.Exec(data)
		rep, err := macho.Verify(macho.Bytes(data))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, filter.Signature{Path: nar.NewPath("/").Join(name), Slice: rep.Slices[0]})
	}
	return tree, want
}

// TestConcurrentVerify wants what is found on other goroutines reported in the archive's
// order, whatever the number of goroutines and the memory.
func TestConcurrentVerify(t *testing.T) {
	for _, jobs := range []int{0, 1, 2, 5} {
		tree, want := verifyTree(t, jobs == 0)
		archive := nartest.Tree(tree)
		for _, memory := range []int64{0, 1, 1 << 20} {
			var got []filter.Signature
			var made spillFiles
			c := &filter.Config{
				Signatures: filter.SignatureOptions{Repair: filter.RepairNone, Verify: true, Jobs: jobs},
				Spill:      spill.Options{Memory: memory, Open: made.new},
				Observer:   filter.Observer{Signature: func(s filter.Signature) { got = append(got, s) }},
			}
			res, err := c.Run(nil, nar.NewReader(bytes.NewReader(archive)))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("jobs %d, memory %d: found %d slices in another order or state than the %d that are there", jobs, memory, len(got), len(want))
			}
			if res.Images != int64(len(want)) || res.Slices != int64(len(want)) || res.Regular != int64(len(tree)) {
				t.Errorf("jobs %d, memory %d: counted %+v", jobs, memory, res)
			}
			if memory == 1 && made.made != len(want) || made.open != 0 {
				t.Errorf("jobs %d: %d of %d images in temporary files, %d left open", jobs, made.made, len(want), made.open)
			}
		}
	}
}

// TestConcurrentVerifyCut cuts an archive after some images: what came before is reported.
func TestConcurrentVerifyCut(t *testing.T) {
	tree, want := verifyTree(t, false)
	archive := nartest.Tree(tree)
	n := 0
	c := &filter.Config{
		Signatures: filter.SignatureOptions{Repair: filter.RepairNone, Verify: true},
		Observer: filter.Observer{Signature: func(s filter.Signature) {
			if s.Path.String() != want[n].Path.String() {
				t.Errorf("slice %d is of %s, want %s", n, s.Path, want[n].Path)
			}
			n++
		}},
	}
	_, err := c.Run(nil, nar.NewReader(bytes.NewReader(archive[:len(archive)/4])))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	if n == 0 || n == len(want) {
		t.Errorf("%d of %d slices reported", n, len(want))
	}
}

// TestConcurrentVerifyBundles checks bundles while images are looked at ahead: the files
// that they seal come before and after them.
func TestConcurrentVerifyBundles(t *testing.T) {
	const resources = "<plist><dict><key>files</key><dict/><key>rules</key><dict/></dict></plist>"
	image := func(plist string) nartest.Node {
		data, _ := machotest.Image{
			CodeSize:    100_000,
			Directories: []machotest.Directory{{PageShift: 12}},
			External:    map[int][]byte{1: []byte(plist), 3: []byte(resources)},
		}.Build()
		return nartest.Exec(data)
	}
	bundle := func(sealed, plist, resources string) nartest.Node {
		return nartest.Dir{"Contents": nartest.Dir{
			"Info.plist":     nartest.File(plist),
			"MacOS":          nartest.Dir{"main": image(sealed)},
			"_CodeSignature": nartest.Dir{"CodeResources": nartest.File(resources)},
		}}
	}
	archive := nartest.Tree(nartest.Dir{
		"a": bundle("plist a", "plist a", resources),
		"b": bundle("plist b", "plist a", resources),
		"c": bundle("plist c", "plist c", resources+" "),
		"d": bundle("plist d", "plist d", resources),
	})
	want := map[string]macho.Status{
		"/a/Contents/MacOS/main": macho.StatusValid, "/b/Contents/MacOS/main": macho.StatusBundle,
		"/c/Contents/MacOS/main": macho.StatusBundle, "/d/Contents/MacOS/main": macho.StatusValid,
	}
	for _, repair := range []filter.RepairMode{filter.RepairNone, filter.RepairAll} {
		if repair == filter.RepairAll {
			want["/b/Contents/MacOS/main"], want["/c/Contents/MacOS/main"] = macho.StatusRepaired, macho.StatusRepaired
		}
		got := map[string]macho.Status{}
		var invalid int64
		c := &filter.Config{
			Signatures: filter.SignatureOptions{Repair: repair, Verify: true},
			Observer:   filter.Observer{Signature: func(s filter.Signature) { got[s.Path.String()] = s.Status }, Invalid: func(filter.Signature) { invalid++ }},
		}
		res, err := c.Run(nil, nar.NewReader(bytes.NewReader(archive)))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("repair mode %d: %v, want %v", repair, got, want)
		}
		// A run that only verifies was not asked to repair, and the other one has repaired.
		if res.Invalid != 0 || invalid != 0 {
			t.Errorf("repair mode %d: %d counted as invalid, %d reported; want none", repair, res.Invalid, invalid)
		}
	}
}
