package main

import (
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"narseal/nar/nartest"
)

// An Info.plist is written in a form that Core Foundation reads and verify does not, or may be read in several ways. It may
// name another executable than the one that seals the list.
func TestUnclearInfoPlist(t *testing.T) {
	const unclear = "not checked: Info.plist may be read in several ways"
	inUTF16 := func(text string) string {
		b := []byte{0xff, 0xfe}
		for _, u := range utf16.Encode([]rune(text)) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		return string(b)
	}
	text := string(infoFor("Main"))
	for _, test := range []struct{ name, info, why string }{
		{"a byte order mark", "\ufeff" + text, ""},
		{"no plist element", "<dict><key>CFBundleExecutable</key><string>Main</string></dict>", ""},
		{"UTF-16", inUTF16(text), unclear},
		{"ISO-8859-1", `<?xml version="1.0" encoding="ISO-8859-1"?>` + text, unclear},
		{"text", "{ CFBundleExecutable = Main; }", unclear},
		{"strings", "CFBundleExecutable = Main;", unclear},
		{"a key twice", strings.Replace(text, "</dict>", "<key>CFBundleExecutable</key><string>Main</string></dict>", 1), unclear},
		{"a cut list", strings.TrimSuffix(text, "</dict></plist>"), unclear},
		{"too large", text + strings.Repeat("\n", 1<<20), "not checked: Info.plist is too large"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, f := range bundleForms() {
				f.put(f.info, nartest.File(strings.ReplaceAll(test.info, "Main", filepath.Base(f.main))))
				f.sign()
				archive := nartest.Tree(f.tree)
				want := test.why
				o := invoke(strings.NewReader(string(archive)), "verify", "--format", "json", "--all")
				if got := bundleProblems(t, o.stdout); (o.status == statusDone) != (want == "") || !f.script && !strings.Contains(got, want) {
					t.Errorf("%s: status %d, %s; want %s", f.name, o.status, got, want)
				}
				if o := invoke(strings.NewReader(string(archive)), "repair"); (o.status == statusDone) != (want == "") || o.stdout != string(archive) {
					t.Errorf("%s: a repair ends with %d and changes %v", f.name, o.status, o.stdout != string(archive))
				}
			}
		})
	}
}
