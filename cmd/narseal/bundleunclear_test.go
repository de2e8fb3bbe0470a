package main

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"narseal/nar/nartest"
)

// unclearInfos are Info.plists of which CFBundle may read another executable than this program does.
func unclearInfos() map[string]string {
	named := func(key string) string { return "<key>" + key + "</key><string>Evil</string>" }
	plist := func(contents string) string { return "<plist><dict>" + contents + "</dict></plist>" }
	both := "<key>CFBundleExecutable</key><string>Main</string>"
	wide := ""
	for _, u := range utf16.Encode([]rune(plist(named("CFBundleExecutable")))) {
		wide += string([]byte{byte(u >> 8), byte(u)})
	}
	return map[string]string{
		"a key for macOS, too": plist(both + named("CFBundleExecutable-macos")), "a key for macOS": plist(named("CFBundleExecutable-macos")),
		"a file that a widget shows": plist(both + "<key>MainHTML</key><string>Evil</string>"), "UTF-16 without a byte order mark": wide, "text": "{ CFBundleExecutable = Evil; }",
		"strings": "CFBundleExecutable = Evil;", "Latin-1": `<?xml version="1.0" encoding="ISO-8859-1"?>` + plist(named("CFBundleExecutable")),
		"large":                   plist(named("CFBundleExecutable")) + strings.Repeat(" ", 1<<20),
		"a > in the DOCTYPE":      "<!DOCTYPE plist '>" + plist(named("CFBundleExecutable")) + "'>" + plist(both),
		"a > in a tag":            plist(`<key>CFBundleExecutable</key><string a=">Evil</string><key>x</key><string b=">Main</string>`),
		"a value that Apple lets": plist("<key>x</key><integer/>" + both),
	}
}

// An executable that seals an Info.plist which may name another one is not valid: that one may be signed by nobody.
func TestUnclearInfoPlist(t *testing.T) {
	rule := `<key>^(MacOS/)?Evil$</key><dict><key>omit</key><true/><key>weight</key><real>20</real></dict></dict></dict></plist>`
	for name, info := range unclearInfos() {
		why := "not checked: Info.plist may be read in several ways"
		if name == "large" {
			why = "not checked: Info.plist is too large"
		}
		for _, form := range []string{"App.app", "flat", "framework"} {
			f := formNamed(t, form)
			dir, file := f.inBase("_CodeSignature/CodeResources")
			list := string(dir[file].(nartest.File))
			f.put("_CodeSignature/CodeResources", nartest.File(strings.TrimSuffix(list, "</dict></dict></plist>")+rule))
			f.put(filepath.Join(filepath.Dir(f.main), "Evil"), nartest.Exec("#!/bin/sh\n"))
			f.put(f.info, nartest.File(info))
			f.sign()
			t.Run(name+", "+form, func(t *testing.T) { testBundle(t, f.tree, f.info+": "+why) })
		}
	}
	// With a byte order mark, it is clear.
	f := formNamed(t, "App.app")
	f.put(f.info, nartest.File("\xef\xbb\xbf"+string(infoFor("Main"))))
	f.sign()
	testBundle(t, f.tree, "")
}
