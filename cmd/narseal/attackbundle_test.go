package main

import (
	"bytes"
	"fmt"
	"strings"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// fullBundle is an application at all bounds of bundles at once: as many files as are kept, each of which differs from a
// list of 8 MB with 50,000 entries and 250 rules, and 4,000 executables with stale slots that seal it. Another one in its
// Resources has a list of the same size.
func fullBundle() []byte {
	var list strings.Builder
	list.WriteString("<plist><dict><key>files2</key><dict>")
	for i := range 49_700 {
		fmt.Fprintf(&list, "<key>Resources/%05d%s</key><dict><key>hash2</key><data>%s</data></dict>", i, strings.Repeat("x", 40), strings.Repeat("A", 43)+"=")
	}
	list.WriteString("</dict><key>rules2</key><dict><key>^.*</key><true/>")
	for i := range 250 {
		fmt.Fprintf(&list, "<key>^%d.*x$</key><dict><key>weight</key><real>%d</real></dict>", i, i)
	}
	list.WriteString("</dict></dict></plist>")
	data, l := machotest.Image{CodeSize: 8192, Directories: []machotest.Directory{{PageShift: 5}},
		External: map[int][]byte{1: []byte("other"), 3: []byte(list.String())}}.Build()
	for at := l.CommandsEnd; at < l.Signature; at += 32 {
		data[at] ^= 1
	}
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
	signature := func() { file("CodeResources", list.String()) }
	put("nix-archive-1", "(", "type", "directory")
	directory("App.app", func() {
		directory("Contents", func() {
			directory("MacOS", func() {
				for i := range 4000 {
					file(fmt.Sprintf("%04d", i), string(data))
				}
			})
			directory("Resources", func() {
				for i := range 18_000 {
					file(fmt.Sprintf("%05d%s", i, strings.Repeat("x", 40)), "")
				}
				directory("z.app", func() {
					directory("Contents", func() {
						directory("MacOS", func() { file("z", string(data)) })
						directory("_CodeSignature", signature)
					})
				})
			})
			directory("_CodeSignature", signature)
		})
	})
	put(")")
	return b.Bytes()
}
