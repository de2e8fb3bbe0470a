package main

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"narseal/macho/machotest"
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
func TestUnclearName(t *testing.T) {
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

// A bundle in a directory that CFBundle takes for one of another form is not checked: its own executable may be another.
func TestOtherForm(t *testing.T) {
	const problem = "_CodeSignature/CodeResources: not checked: it has a form that is not known"
	for _, form := range []string{"flat", "framework"} {
		for name, inside := range map[string]nartest.Node{
			"Contents":      nartest.Dir{"Info.plist": infoFor("X"), "MacOS": nartest.Dir{"X": nartest.Exec("#!/bin/sh\n")}},
			"Support Files": nartest.Dir{"Info.plist": infoFor("X")},
			"Versions":      nartest.Dir{"A": nartest.Dir{"X": nartest.Exec("#!/bin/sh\n")}, "Current": nartest.Symlink("A")},
		} {
			f := formNamed(t, form)
			dir, file := f.inBase("_CodeSignature/CodeResources")
			list := string(dir[file].(nartest.File))
			rule := "<key>^" + name + `/</key><dict><key>omit</key><true/><key>weight</key><real>20</real></dict></dict></dict></plist>`
			f.put("_CodeSignature/CodeResources", nartest.File(strings.TrimSuffix(list, "</dict></dict></plist>")+rule))
			f.put(name, inside)
			f.sign()
			t.Run(form+", "+name, func(t *testing.T) { testBundle(t, f.tree, problem) })
		}
	}
}

// Files in _CodeSignature that sign no script do not hide that the executable which seals the list is not the main one.
func TestStrayDirectory(t *testing.T) {
	const problem = "_CodeSignature/CodeResources: not checked: the executable that seals it is not the main one"
	linked, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}}.Build() // signed, and seals nothing
	f := formNamed(t, "App.app")
	dir, file := f.inBase("_CodeSignature/CodeResources")
	rule := `<key>^(MacOS/)?X$</key><dict><key>omit</key><true/><key>weight</key><real>20</real></dict></dict></dict></plist>`
	f.put("_CodeSignature/CodeResources", nartest.File(strings.TrimSuffix(string(dir[file].(nartest.File)), "</dict></dict></plist>")+rule))
	f.put("_CodeSignature/CodeDirectory", nartest.File(""))
	f.put(f.info, infoFor("Main"))
	f.sign()
	testBundle(t, f.tree, "_CodeSignature/CodeResources: not checked: the main executable has a signature of its own, and _CodeSignature/CodeDirectory may be part of another")
	f.put("MacOS/X", nartest.Exec(linked))
	f.put(f.info, infoFor("X"))
	f.sign()
	testBundle(t, f.tree, problem)
}

// Without an Info.plist, the main executable has the name of the bundle.
func TestNoInfoPlist(t *testing.T) {
	f := formNamed(t, "App.app")
	f.remove(f.info)
	dir, file := f.inBase("_CodeSignature/CodeResources")
	data, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}, External: map[int][]byte{3: []byte(dir[file].(nartest.File))}}.Build()
	f.put(f.main, nartest.Exec(data))
	testBundle(t, nartest.Dir{"x": f.tree}, "_CodeSignature/CodeResources: not checked: the executable that seals it is not the main one")
	f.remove(f.main)
	f.put("MacOS/App", nartest.Exec(data))
	testBundle(t, nartest.Dir{"x": f.tree}, "")
}

// The file systems of macOS find an executable whose name differs in case or in the form of Unicode, if there is one.
func TestExecutableSpelled(t *testing.T) {
	const (
		composed, decomposed = "Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"
		problem              = "_CodeSignature/CodeResources: not checked: the executable that seals it is not the main one"
	)
	for _, form := range []string{"App.app", "flat", "framework"} {
		for _, test := range []struct{ named, file, other, problem string }{
			{composed, decomposed, "", ""}, {decomposed, composed, "", ""}, {"main", "Main", "", ""}, {"GR\u00d6\u00dfE", decomposed, "", ""},
			{"main", "Main", "main", problem}, {"main", "Main", "MAIN", problem}, {"main", "Main", "MAINS", ""}, {"main", "Mains", "", problem},
		} {
			f := formNamed(t, form)
			in := filepath.Dir(f.main)
			rule := `<key>^(MacOS/)?([Mm][Aa]|G)</key><dict><key>omit</key><true/><key>weight</key><real>20</real></dict></dict></dict></plist>`
			dir, file := f.inBase("_CodeSignature/CodeResources")
			f.put("_CodeSignature/CodeResources", nartest.File(strings.TrimSuffix(string(dir[file].(nartest.File)), "</dict></dict></plist>")+rule))
			f.remove(f.main)
			f.main = filepath.Join(in, test.file)
			if test.other != "" {
				f.put(filepath.Join(in, test.other), nartest.Exec("#!/bin/sh\n"))
			}
			f.put(f.info, infoFor(test.named))
			f.sign()
			t.Run(form+", "+test.named+", "+test.file+test.other, func(t *testing.T) { testBundle(t, f.tree, test.problem) })
		}
		// Without a rule for it, Security.framework misses the file in the list: it leaves out only the name in other letters.
		for named, problem := range map[string]string{"GR\u00d6\u00dfE": decomposed + ": added", composed: "", decomposed: ""} {
			f := formNamed(t, form)
			in := filepath.Dir(f.main)
			f.remove(f.main)
			f.main = filepath.Join(in, decomposed)
			f.put(f.info, infoFor(named))
			f.sign()
			if problem != "" {
				problem = filepath.Join(in, problem)
			}
			testBundle(t, f.tree, problem)
		}
	}
}
