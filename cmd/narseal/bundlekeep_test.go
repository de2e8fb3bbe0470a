package main

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// signed signs the main executable of withLibrary's application by a certificate.
func signed(tree nartest.Dir) nartest.Dir {
	dir := dirAt(tree, "App.app/Contents")
	list := dirAt(dir, "_CodeSignature")["CodeResources"].(nartest.File)
	main, _ := machotest.Image{
		Directories: []machotest.Directory{{PageShift: 12}},
		Blobs:       []machotest.Blob{{Slot: 0x10000, Magic: machotest.CMS, Data: make([]byte, 100)}},
		External:    map[int][]byte{1: []byte(infoFor("App")), 3: []byte(list)},
	}.Build()
	dir["MacOS"] = nartest.Dir{"App": nartest.Exec(main)}
	return tree
}

// testKept checks that a repair changes nothing of a tree that is valid.
func testKept(t *testing.T, name string, tree nartest.Dir) {
	t.Helper()
	archive := string(nartest.Tree(tree))
	if o := invoke(strings.NewReader(archive), "verify"); o.status != statusDone {
		t.Errorf("%s: verify ends with %d: %s", name, o.status, o.stdout)
	}
	for _, onCMS := range []string{"keep", "adhoc", "fail"} {
		o := invoke(strings.NewReader(archive), "repair", "--on-cms", onCMS)
		if o.status != statusDone || o.stdout != archive {
			t.Errorf("%s, archive, %s: status %d, changed %v: %s", name, onCMS, o.status, o.stdout != archive, o.stderr)
		}
		top := t.TempDir()
		restoreTree(t, top, tree)
		o = invoke(nil, "repair", "--in-place", "--on-cms", onCMS, top)
		if changed := !reflect.DeepEqual(readTree(t, top), tree); o.status != statusDone || changed {
			t.Errorf("%s, in place, %s: status %d, changed %v: %s%s", name, onCMS, o.status, changed, o.stdout, o.stderr)
		}
	}
}

// A repair changes nothing of a valid bundle, whatever nobody reads in its list, and leaves it the signature by a
// certificate.
func TestRepairKeepsValidBundle(t *testing.T) {
	one := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}}
	two := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}, {PageShift: 12, Slot: 0x1000, HashType: 1}}}
	stray := strings.Repeat("ab", 20)
	data := func(size int) string {
		return "<data>" + base64.StdEncoding.EncodeToString(make([]byte, size)) + "</data>"
	}
	for _, test := range []struct {
		name    string
		library machotest.Image
		entry   string // %x is the cdhash that counts
	}{
		{"cdhash", one, `<key>cdhash</key>` + data(20) + `<key>requirement</key><string>cdhash H"%x"</string>`},
		{"a digest beside the requirement", one, `<key>hash2</key>` + data(32) + `<key>requirement</key><string>cdhash H"%x"</string>`},
		{"another hash", one, `<key>requirement</key><string>cdhash H"` + stray + `" or cdhash H"%x"</string>`},
		{"another hash, two CodeDirectories", two, `<key>requirement</key><string>cdhash H"` + stray + `" or cdhash H"%x"</string>`},
		{"the other CodeDirectory", two, `<key>requirement</key><string>cdhash H"%x" or cdhash H"` + stray + `"</string>`},
		{"a file that the rules leave out", one, `<key>requirement</key><string>cdhash H"%x"</string></dict>` +
			`<key>Info.plist</key><dict><key>optional</key><true/><key>hash2</key>` + data(32)},
		{"files", one, `<key>requirement</key><string>cdhash H"%x"</string></dict></dict>` +
			`<key>files</key><dict><key>Frameworks/l.dylib</key><dict><key>hash</key>` + data(20)},
	} {
		tree := withLibrary(test.library, func(cdhash []byte) string { return fmt.Sprintf(test.entry, cdhash) })
		testKept(t, test.name, tree)
		testKept(t, test.name+", signed by a certificate", signed(tree))
	}
}
