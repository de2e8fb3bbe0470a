package main

import (
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"narseal/nar/nartest"
)

// An Info.plist is written in a form that Core Foundation reads and verify does not, or may be read in several ways. Nothing
// says then which executable is the main one, so the bundle is not valid.
func TestUnclearInfoPlist(t *testing.T) {
	inUTF16 := func(text string) string {
		b := []byte{0xff, 0xfe}
		for _, u := range utf16.Encode([]rune(text)) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		return string(b)
	}
	text := string(infoFor("Main"))
	for _, test := range []struct {
		name, info string
		clear      bool
	}{
		{"a byte order mark", "\ufeff" + text, true},
		{"no plist element", "<dict><key>CFBundleExecutable</key><string>Main</string></dict>", true},
		{"UTF-16", text, true},
		{"ISO-8859-1", `<?xml version="1.0" encoding="ISO-8859-1"?>` + text, false},
		{"text", "{ CFBundleExecutable = Main; }", false},
		{"strings", "CFBundleExecutable = Main;", false},
		{"a key twice", strings.Replace(text, "</dict>", "<key>CFBundleExecutable</key><string>Main</string></dict>", 1), false},
		{"a cut list", strings.TrimSuffix(text, "</dict></plist>"), false},
		{"too large", text + strings.Repeat("\n", 1<<20), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, f := range bundleForms() {
				info := strings.ReplaceAll(test.info, "Main", filepath.Base(f.main))
				if test.name == "UTF-16" {
					info = inUTF16(info)
				}
				f.put(f.info, nartest.File(info))
				f.sign()
				archive := string(nartest.Tree(f.tree))
				if o := invoke(strings.NewReader(archive), "verify"); (o.status == statusDone) != test.clear {
					t.Errorf("%s: status %d: %s", f.name, o.status, o.stdout)
				}
				if o := invoke(strings.NewReader(archive), "repair"); (o.status == statusDone) != test.clear || o.stdout != archive {
					t.Errorf("%s: a repair ends with %d and changes %v", f.name, o.status, o.stdout != archive)
				}
			}
		})
	}
}
