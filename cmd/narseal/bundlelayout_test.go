package main

import (
	"path/filepath"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// layoutTest puts something into a bundle of a form. All of it is sealed, or omitted by a rule.
type layoutTest struct {
	form, name string
	change     func(f *bundleForm)
	problem    string // empty: the bundle is valid
}

const (
	notFlat  = "_CodeSignature/CodeResources: not checked: it has a form that is not known"
	noPlist  = "_CodeSignature/CodeResources: not checked: its Info.plist is not in Resources, where macOS looks for it"
	several  = "_CodeSignature/CodeResources: not checked: there may be several main executables"
	besideIt = "Contents/_CodeSignature/CodeResources: not checked: entries beside it may give the bundle another form"
)

// layoutTests are bundles that CFBundle may take for one of another form, and those that it does not.
func layoutTests() (all []layoutTest) {
	evil := nartest.Exec("#!/bin/sh\n")
	add := func(form, name, problem string, nodes nartest.Dir) {
		all = append(all, layoutTest{form, name, func(f *bundleForm) {
			for path, n := range nodes {
				base := f.base
				if path[0] == '/' { // beside the base
					base, path = strings.SplitN(base, "/", 2)[0], path[1:]
				}
				dirAt(f.tree, base)[path] = n
			}
		}, problem})
	}
	infos := nartest.Dir{"Info.plist": infoFor("X"), "X": evil}
	wrapped := nartest.Dir{"/Wrapper": nartest.Dir{"E.app": infos}, "/WrappedBundle": nartest.Symlink("Wrapper/E.app")}
	for _, form := range []string{"flat", "script, flat"} {
		add(form, "MacOS with a main executable", several, nartest.Dir{"MacOS": nartest.Dir{"Main": evil}})
		add(form, "MacOS in other letters", several, nartest.Dir{"macos": nartest.Dir{"MAIN": evil}})
		add(form, "a symlink MacOS", several, nartest.Dir{"MacOS": nartest.Symlink("Files")})
		add(form, "another executable in other letters", several, nartest.Dir{"mAIN": evil})
		add(form, "MacOS with another file", "", nartest.Dir{"MacOS": nartest.Dir{"Other": evil}})
		add(form, "Resources", noPlist, nartest.Dir{"Resources": nartest.Dir{"x": nartest.File("")}})
		add(form, "contents", notFlat, nartest.Dir{"contents": infos})
		add(form, "con\u200ctents for HFS+", notFlat, nartest.Dir{"con\u200ctents": infos})
		add(form, "support files", notFlat, nartest.Dir{"support files": infos})
		add(form, "versions/current", notFlat, nartest.Dir{"versions": nartest.Dir{"A": infos, "current": nartest.Symlink("A")}})
		add(form, "versions only", "", nartest.Dir{"versions": nartest.Dir{"A": infos}})
		add(form, "resources", notFlat, nartest.Dir{"resources": infos})
		add(form, "WrappedBundle", notFlat, wrapped)
		add(form, "Wrapper only", "", nartest.Dir{"Wrapper": infos})
		add(form, "_codesignature", "_CodeSignature/CodeResources: not checked: macOS may find another list at _codesignature",
			nartest.Dir{"_codesignature": nartest.Dir{"CodeResources": nartest.File("x")}})
	}
	for _, form := range []string{"App.app", "script, Script.app", "Driver.kext"} {
		add(form, "WrappedBundle", besideIt, wrapped)
		add(form, "Contents in other letters", besideIt, nartest.Dir{"/contents": infos})
		add(form, "what CFBundle does not look at", "", nartest.Dir{"/Resources": infos, "/Support Files": infos, "/Versions": nartest.Dir{"Current": infos}})
		add(form, "in Contents", "", nartest.Dir{"resources": infos, "Contents": infos, "Support Files": infos})
	}
	add("App.app", "MacOS in other letters", several, nartest.Dir{"macos": nartest.Dir{"main": evil}})
	for _, form := range []string{"App.app", "flat"} {
		for name, why := range map[string]string{
			"info-macos.plist": "macOS prefers it to Info.plist", "Info-macOS.plist": "macOS prefers it to Info.plist", "Info-iphoneos.plist": "iOS prefers it to Info.plist",
			"info.plist": "macOS may take it for Info.plist", "Info.pli\u017ft": "macOS may take it for Info.plist",
		} {
			add(form, name, name+": not checked: "+why, nartest.Dir{name: infoFor("X")})
		}
	}
	add("framework", "Contents beside Versions", strings.ReplaceAll(besideIt, "Contents/", "Versions/A/"), nartest.Dir{"/Contents": infos})
	add("framework", "support files beside Versions", strings.ReplaceAll(besideIt, "Contents/", "Versions/A/"), nartest.Dir{"/support files": infos})
	add("framework", "WrappedBundle", strings.ReplaceAll(besideIt, "Contents/", "Versions/A/"), wrapped)
	add("framework", "MacOS", "", nartest.Dir{"MacOS": nartest.Dir{"Lib": evil}}) // with Resources, CFBundle does not look there
	return all
}

// A bundle is valid only if CFBundle finds the Info.plist and the main executable that were compared.
func TestLayouts(t *testing.T) {
	for _, test := range layoutTests() {
		f := formNamed(t, test.form)
		dir, file := f.inBase("_CodeSignature/CodeResources")
		list := strings.TrimSuffix(string(dir[file].(nartest.File)), "</dict></dict></plist>")
		test.change(f)
		// A rule of codesign's omits such files, too: an Info.plist in any letters would be added otherwise.
		const omit = `<dict><key>omit</key><true/><key>weight</key><real>20</real></dict>`
		f.put("_CodeSignature/CodeResources", nartest.File(list+`<key>^([^F_z]|Files[^/]|_codes)</key>`+omit+"</dict></dict></plist>"))
		f.sign()
		want := statusDone
		if test.problem != "" {
			want = statusInvalid
		}
		check := func(in string, o outcome) {
			got := bundleProblems(t, o.stdout)
			if in == "bundle" && test.problem == several {
				got = test.problem // the root may be one that has its executable in MacOS, which then differs
			}
			if o.status != want || got != test.problem {
				t.Errorf("%s, %s, %s: status %d, %q; want %q", test.form, test.name, in, o.status, got, test.problem)
			}
		}
		archive := string(nartest.Tree(nartest.Dir{"x": f.tree}))
		check("archive", invoke(strings.NewReader(archive), "verify", "--format", "json"))
		top := t.TempDir()
		restoreTree(t, top, f.tree)
		check("directory", invoke(nil, "verify", "--format", "json", top))
		if strings.Contains(test.problem, "beside it") {
			root := dirAt(f.tree, strings.SplitN(f.base, "/", 2)[0])
			check("archive of the bundle", invoke(strings.NewReader(string(nartest.Tree(root))), "verify", "--format", "json"))
			unnamed := t.TempDir()
			restoreTree(t, unnamed, root)
			check("directory of another name", invoke(nil, "verify", "--format", "json", unnamed))
		}
		check("bundle", invoke(nil, "verify", "--format", "json", filepath.Join(top, strings.SplitN(f.base, "/", 2)[0])))
		o := invoke(strings.NewReader(archive), "repair")
		if o.status != want || o.stdout != archive {
			t.Errorf("%s, %s: a repair ends with %d and changes %v", test.form, test.name, o.status, o.stdout != archive)
		}
	}
}

// The same is true of a bundle that another one contains as nested code.
func TestNestedLayouts(t *testing.T) {
	const at = "Frameworks/F.bundle"
	evil := nartest.Exec("#!/bin/sh\n")
	infos := nartest.Dir{"Info.plist": infoFor("Evil"), "Evil": evil}
	for _, test := range []struct {
		form, name, why string
		node            nartest.Node
	}{
		{"flat", "Other", "", infos},
		{"flat", "MacOS", "it may have several main executables", nartest.Dir{"Good": evil}},
		{"flat", "macos", "it may have several main executables", nartest.Dir{"GOOD": evil}},
		{"flat", "gOOD", "it may have several main executables", evil},
		{"flat", "MacOS", "it may have several main executables", nartest.Symlink("Other")},
		{"flat", "Resources", "its Info.plist is not in Resources, where macOS looks for it", nartest.Dir{"x": evil}},
		{"flat", "Resources", "its Resources are not a directory", nartest.Symlink("Other")},
		{"flat", "resources", "it has a form that is not known", infos}, {"flat", "contents", "it has a form that is not known", infos},
		{"flat", "SUPPORT FILES", "it has a form that is not known", infos},
		{"flat", "info-macos.plist", "its Info.plist may be read in several ways", infoFor("Evil")},
		{"flat", "info.plist", "its Info.plist may be read in several ways", infoFor("Evil")},
		{"flat", "versions", "its Versions/Current is not the name of a version", nartest.Dir{"current": nartest.Symlink("A"), "A": infos}},
		{"contents", "contents", "it has a form that is not known", infos},
		{"contents", "Resources", "", infos},
		{"framework", "Contents", "it may have several main executables", infos},
		{"framework", "contents", "it has a form that is not known", infos},
		{"framework", "versions", "its Versions/Current is not the name of a version", nartest.Dir{"Current": nartest.Symlink("A")}},
	} {
		code := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}}
		inner := &machotest.SealedBundle{Form: test.form, Executable: "Good", Image: code, Info: string(infoFor("Good"))}
		outer := &machotest.SealedBundle{Form: "contents", Executable: "App", Info: string(infoFor("App")), Files: map[string]any{at: inner}}
		tree := nartest.Dir{"App.app": treeOf(outer)}
		verify := func() string {
			return bundleProblems(t, invoke(strings.NewReader(string(nartest.Tree(tree))), "verify", "--format", "json").stdout)
		}
		if got := verify(); got != "" {
			t.Fatalf("%s: %s", test.form, got)
		}
		dirAt(tree, "App.app/Contents/"+at)[test.name] = test.node
		got := verify()
		if want := at + ": nested code not checked: " + test.why; strings.Contains(got, at+": ") != (test.why != "") || test.why != "" && !strings.Contains(got, want) {
			t.Errorf("%s with %s: %s; want %s", test.form, test.name, got, want)
		}
	}
}
