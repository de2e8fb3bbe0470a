package main

import (
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// A framework is valid only if what macOS finds beside Versions is what was compared: the Info.plist and the main executable
// of the current version.
func TestBesideVersions(t *testing.T) {
	evil := nartest.Exec("#!/bin/sh\n")
	infos := nartest.Dir{"Info.plist": infoFor("Lib"), "Lib": evil}
	link := func(target string) nartest.Node { return nartest.Symlink(target) }
	used := func(name string) string {
		return "macOS may use " + name + " beside Versions, which is no symlink to that of the version"
	}
	const noVersion = "Versions/Current is no symlink to a version that was compared"
	for _, test := range []struct {
		problem string
		nodes   nartest.Dir // beside Versions; nil: removed
		name    string      // that the Info.plist gives, if not Lib
	}{
		{"", nartest.Dir{}, ""},
		{"", nartest.Dir{"Resources": link("./Versions/A/Resources/"), "Lib": link("Versions/A/Lib")}, ""},
		{"", nartest.Dir{"Resources": nil}, ""}, {"", nartest.Dir{"Lib": nil}, ""}, {"", nartest.Dir{"Resources": nil, "Lib": nil}, ""},
		{"", nartest.Dir{"Lib.prl": evil, "Modules": infos, "Headers": link("Versions/Current/Headers"), "Zlib": evil, "a": evil}, ""},
		{"", nartest.Dir{"Other": link("Versions/Current/Other"), "Lib": evil}, "Other"},
		{"", nartest.Dir{"Resources": nil, "Info.plist": link("Versions/Current/Info.plist")}, ""},
		{used("Resources"), nartest.Dir{"Resources": infos}, ""},
		{used("Resources"), nartest.Dir{"Resources": link("Files"), "Files": infos}, ""},
		{used("Resources"), nartest.Dir{"Resources": link("Versions/A/Files")}, ""},
		{used("Resources"), nartest.Dir{"Resources": link("Versions/B/Resources")}, ""},
		{used("resources"), nartest.Dir{"resources": infos}, ""},
		{used("Lib"), nartest.Dir{"Lib": evil}, ""}, {used("Lib"), nartest.Dir{"Lib": evil, "Resources": nil}, ""},
		{used("lIB"), nartest.Dir{"Lib": nil, "lIB": evil}, ""},
		{used("Lib"), nartest.Dir{"Lib": link("Versions/A/Files/Lib")}, ""}, {used("Lib"), nartest.Dir{"Lib": link("../Versions/A/Lib")}, ""},
		{used("Other"), nartest.Dir{"Other": evil}, "Other"},
		{used("Info.plist"), nartest.Dir{"Resources": nil, "Info.plist": infoFor("X")}, ""},
		{used("info-macos.plist"), nartest.Dir{"Resources": nil, "info-macos.plist": infoFor("X")}, ""},
		{used("MacOS"), nartest.Dir{"Resources": nil, "MacOS": infos}, ""},
		{noVersion, nartest.Dir{"Versions/Current": link("B"), "Versions/B": infos}, ""},
		{noVersion, nartest.Dir{"Versions/Current": link("../Versions/A")}, ""}, {noVersion, nartest.Dir{"Versions/Current": link("/A")}, ""},
		{"", nartest.Dir{"Versions/Current": link("./A/"), "Versions/B": infos}, ""},
		{"", nartest.Dir{"Versions/Current": nil}, ""},
	} {
		f := formNamed(t, "framework")
		if test.name != "" {
			dir, _ := f.inBase(f.main)
			dir[test.name] = dir[f.main]
			delete(dir, f.main)
			f.main = test.name
			f.put(f.info, infoFor(test.name))
			f.sign()
		}
		root := dirAt(f.tree, "Lib.framework")
		for path, n := range test.nodes {
			dir := root
			if in, name, ok := strings.Cut(path, "/"); ok {
				dir, path = root[in].(nartest.Dir), name
			}
			if dir[path] = n; n == nil {
				delete(dir, path)
			}
		}
		want, status := "", statusDone
		if test.problem != "" {
			want, status = "Versions/A/_CodeSignature/CodeResources: not checked: "+test.problem, statusInvalid
		}
		check := func(in string, o outcome) {
			t.Helper()
			if got := bundleProblems(t, o.stdout); o.status != status || got != want {
				t.Errorf("%v, %s: status %d, %q; want %q", test.nodes, in, o.status, got, want)
			}
		}
		top := t.TempDir()
		restoreTree(t, top, f.tree)
		check("directory", invoke(nil, "verify", "--format", "json", top))
		check("framework", invoke(nil, "verify", "--format", "json", filepath.Join(top, "Lib.framework")))
		check("archive", invoke(strings.NewReader(string(nartest.Tree(nartest.Dir{"x": f.tree}))), "verify", "--format", "json"))
		if _, hasResources := root["Resources"]; hasResources || test.problem == noVersion {
			check("archive of the framework", invoke(strings.NewReader(string(nartest.Tree(root))), "verify", "--format", "json"))
		}
	}

	// Two versions, both sealed: links lead into the current one.
	f := formNamed(t, "framework")
	root := dirAt(f.tree, "Lib.framework")
	versions := root["Versions"].(nartest.Dir)
	versions["B"] = versions["A"]
	testBundle(t, f.tree, "")
	versions["Current"], root["Lib"] = nartest.Symlink("B"), nartest.Symlink("Versions/B/Lib")
	testBundle(t, f.tree, "")
	versions["Current"] = nartest.Symlink("A")
	testBundle(t, f.tree, "Versions/B/_CodeSignature/CodeResources: not checked: "+used("Lib"))
}
