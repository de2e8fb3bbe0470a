package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// fullFiles is the number of files without executables that a fullBundle has room for.
const fullFiles = 19_600

// fullBundle is an application at all bounds of bundles at once: as many files as are kept, each of which differs from a
// list of 8 MB with 50,000 entries, and 4,000 executables with stale slots that seal it. Another one in its Resources has a
// list of the same size with 250 rules; with as many files, these would take too long.
func fullBundle() []byte { return fullBundleOf(fullFiles) }

func fullBundleOf(files int) []byte {
	list := func(rules int) string {
		var list strings.Builder
		list.WriteString("<plist><dict><key>files2</key><dict>")
		for i := range 50_000 - 1 - rules {
			fmt.Fprintf(&list, "<key>Resources/%05d%s</key><dict><key>hash2</key><data>%s</data></dict>", i, strings.Repeat("x", 40), strings.Repeat("A", 43)+"=")
		}
		list.WriteString("</dict><key>rules2</key><dict><key>^.*</key><true/>")
		for i := range rules {
			fmt.Fprintf(&list, "<key>^%d.*x$</key><dict><key>weight</key><real>%d</real></dict>", i, i)
		}
		list.WriteString("</dict></dict>" + strings.Repeat(" ", 8<<20-list.Len()-len("</dict></dict></plist>")) + "</plist>")
		return list.String()
	}
	build := func(list string) string {
		data, l := machotest.Image{CodeSize: 4096, Directories: []machotest.Directory{{PageShift: 5}},
			External: map[int][]byte{1: []byte("other"), 3: []byte(list)}}.Build()
		for at := l.CommandsEnd; at < l.Signature; at += 32 {
			data[at] ^= 1
		}
		return string(data)
	}
	outer, inner := list(0), list(250)
	main, nested := build(outer), build(inner)
	var b bytes.Buffer
	put := func(words ...string) { b.Write(nartest.Strings(words...)) }
	file := func(name, text string) {
		put("entry", "(", "name", name, "node", "(", "type", "regular", "contents", text, ")", ")")
	}
	directory := func(name string, fill func()) {
		put("entry", "(", "name", name, "node", "(", "type", "directory")
		fill()
		put(")", ")")
	}
	signature := func(list string) func() { return func() { file("CodeResources", list) } }
	put("nix-archive-1", "(", "type", "directory")
	directory("App.app", func() {
		directory("Contents", func() {
			directory("MacOS", func() {
				for i := range 4000 {
					file(fmt.Sprintf("%04d", i), main)
				}
			})
			directory("Resources", func() {
				for i := range files {
					file(fmt.Sprintf("%05d%s", i, strings.Repeat("x", 40)), "")
				}
				directory("z.app", func() {
					directory("Contents", func() {
						directory("MacOS", func() { file("z", nested) })
						directory("_CodeSignature", signature(inner))
					})
				})
			})
			directory("_CodeSignature", signature(outer))
		})
	})
	put(")")
	return b.Bytes()
}

// A fullBundle is compared with its lists: it reaches the bounds, and passes none. A few more files are too many.
func TestFullBundle(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, test := range []struct {
		files int
		full  bool
	}{{fullFiles, false}, {fullFiles + 400, true}} {
		o := invoke(bytes.NewReader(fullBundleOf(test.files)), "verify", "--format", "json")
		added := strings.Count(o.stdout, "the first: MacOS/0000: added") > 0 && strings.Contains(o.stdout, "the first: Resources/00000")
		if full := strings.Contains(o.stdout, "not checked: the bundle has too many files"); full != test.full || added == full || strings.Contains(o.stdout, "too long") {
			t.Errorf("%d files: too many: %v, want %v; compared: %v", test.files, full, test.full, added)
		}
	}
}
