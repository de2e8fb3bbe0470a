package main

import (
	"path/filepath"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// formNamed returns a new bundle of a form.
func formNamed(t *testing.T, name string) *bundleForm {
	t.Helper()
	for _, f := range bundleForms() {
		if f.name == name {
			return f
		}
	}
	t.Fatalf("no form %s", name)
	return nil
}

// The Info.plist is that in the one place of the bundle's form. Another one with the sealed contents does not stand in for
// it.
func TestOneInfoPlist(t *testing.T) {
	const changed = "Info.plist: changed"
	for _, test := range []struct {
		form, other string
		same        string // problem if the other one is the same, and the right one changed
		differs     string // problem if the other one differs
	}{
		{"App.app", "Resources/Info.plist", changed, ""},
		{"framework", "Info.plist", changed, ""},
		{"flat", "Resources/Info.plist", "", "Info.plist: not checked: Resources has another one, which counts"},
	} {
		f := formNamed(t, test.form)
		dir, name := f.inBase(f.info)
		sealed := string(dir[name].(nartest.File))
		if test.form == "flat" {
			f.put("Resources", nartest.Dir{})
		}
		f.put(test.other, nartest.File(sealed))
		testBundle(t, f.tree, "")
		f.edit(f.info, longer)
		testBundle(t, f.tree, test.same)
		f = formNamed(t, test.form)
		if test.form == "flat" {
			f.put("Resources", nartest.Dir{})
		}
		f.put(test.other, nartest.File(longer(sealed)))
		testBundle(t, f.tree, test.differs)
	}
	// The root of an input has no name, or one that says nothing.
	f := formNamed(t, "App.app")
	dir, name := f.inBase("Info.plist")
	f.put("Resources/Info.plist", dir[name])
	f.edit("Info.plist", longer)
	testBundle(t, dirAt(f.tree, f.base), changed)
}

// CFBundle prefers an Info.plist that is for macOS only.
func TestInfoPlistForMacOS(t *testing.T) {
	for _, form := range []string{"App.app", "framework", "flat"} {
		f := formNamed(t, form)
		path := filepath.Join(filepath.Dir(f.info), "Info-macos.plist")
		f.put(path, nartest.File("<plist><dict/></plist>"))
		testBundle(t, f.tree, path+": not checked: macOS prefers it to Info.plist; "+path+": added")
	}
}

// An Info.plist names an executable that does not lie where executables do. It seals a list that nothing was compared with.
func TestExecutableElsewhere(t *testing.T) {
	const (
		path    = "_CodeSignature/CodeResources: not checked: "
		another = path + "Info.plist names an executable in another directory"
	)
	for _, form := range []string{"App.app", "flat", "framework"} {
		dir := filepath.Dir(formNamed(t, form).main)
		for _, test := range []struct{ main, named, problem string }{
			{dir + "/sub/Main", "sub/Main", another}, {"Files/Main", "../Files/Main", another}, {dir + "/sub/Main", "./sub/../sub/Main", another},
			{dir + "/sub/Main", "Main", path + "the main executable is not at its place"},
			{dir + "/sub/Main", "", path + "the main executable is not at its place"},
		} {
			f := formNamed(t, form)
			f.remove(f.main)
			if strings.Contains(test.main, "sub/") {
				f.put(dir+"/sub", nartest.Dir{})
			}
			f.main = test.main
			f.put(f.info, infoFor(test.named))
			f.sign()
			f.edit("z", strings.ToUpper)
			// Beside an Info.plist, a list is missing, too.
			testBundle(t, nartest.Dir{"x": f.tree}, test.problem, "_CodeSignature/CodeResources: missing; "+test.problem)
		}
	}
	f := formNamed(t, "App.app")
	dir, _ := f.inBase(f.main)
	dir["sub"], dir["Main"] = nartest.Dir{"Main": dir["Main"]}, nartest.Symlink("sub/Main")
	f.edit("z", strings.ToUpper)
	testBundle(t, f.tree, path+"the main executable is a symlink")

	f = formNamed(t, "flat")
	f.put("MacOS", nartest.Dir{})
	dir, name := f.inBase(f.main)
	f.put("MacOS/Main", dir[name])
	f.put(f.main, nartest.Exec("#!/bin/sh\n"))
	f.edit("z", strings.ToUpper)
	testBundle(t, nartest.Dir{"x": f.tree}, path+"there may be several main executables")
}

// An executable that seals the list is not the one that the Info.plist names, or the one that has the bundle's name.
func TestAnotherExecutable(t *testing.T) {
	const problem = "_CodeSignature/CodeResources: not checked: the executable that seals it is not the main one"
	linked, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}}.Build() // signed, and seals nothing
	for _, form := range []string{"App.app", "flat", "framework"} {
		for _, other := range []nartest.Node{nil, nartest.Exec("#!/bin/sh\n"), nartest.Exec(linked)} {
			f := formNamed(t, form)
			dir, name := f.inBase("_CodeSignature/CodeResources")
			list := string(dir[name].(nartest.File))
			rule := `<key>^(MacOS/)?(X|App|Flat|Lib)$</key><dict><key>omit</key><true/><key>weight</key><real>20</real></dict></dict></dict></plist>`
			f.put("_CodeSignature/CodeResources", nartest.File(strings.TrimSuffix(list, "</dict></dict></plist>")+rule))
			named := filepath.Join(filepath.Dir(f.main), "X")
			if other != nil {
				f.put(named, other)
			}
			f.put(f.info, infoFor("X"))
			f.sign()
			testBundle(t, f.tree, problem)

			// Without a name in the Info.plist, it has the name of the bundle.
			f.put(f.info, nartest.File("<plist><dict/></plist>"))
			f.sign()
			if other == nil {
				if form != "framework" {
					testBundle(t, nartest.Dir{"x": f.tree}, problem)
				}
				continue
			}
			f.remove(named)
			bundle := map[string]string{"App.app": "App", "flat": "Flat", "framework": "Lib"}[form]
			if form == "framework" {
				f.remove("Lib")
				f.main = "Other"
				f.sign()
			}
			f.put(filepath.Join(filepath.Dir(f.main), bundle), other)
			testBundle(t, nartest.Dir{"x": f.tree}, problem)
		}
	}
}

// Without a name in an Info.plist, CFBundle runs the file that has the name of the bundle's directory, which is known if the
// directory is the input itself. The name of another root says nothing.
func TestUnnamedExecutable(t *testing.T) {
	const (
		path    = "_CodeSignature/CodeResources: not checked: "
		other   = path + "the executable that seals it is not the main one"
		unknown = path + "no Info.plist names the main executable, and there are several files"
	)
	list := strings.TrimSuffix(sealList(map[string]string{"Files/a": "resource a", "Files/b": "resource b"}, map[string]string{"Files/link": "a"}), "</dict></dict></plist>") +
		`<key>^(MacOS/)?(App|Flat|Lib)$</key><dict><key>omit</key><true/><key>weight</key><real>20</real></dict></dict></dict></plist>`
	for form, name := range map[string]string{"App.app": "App", "flat": "Flat", "framework": "Lib"} {
		for _, info := range []bool{true, false} {
			for _, alone := range []bool{true, false} {
				f := formNamed(t, form)
				f.remove("z")
				f.remove(f.main)
				dir := filepath.Dir(f.main)
				f.main = filepath.Join(dir, "Other")
				f.put("_CodeSignature/CodeResources", nartest.File(list))
				f.put(f.info, nartest.File("<plist><dict/></plist>"))
				f.sign()
				if !info {
					f.remove(f.info)
					data, _ := machotest.Image{Directories: []machotest.Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12}}, External: map[int][]byte{3: []byte(list)}}.Build()
					f.put(f.main, nartest.Exec(data))
				}
				elsewhere := ""
				if !alone {
					f.put(filepath.Join(dir, name), nartest.Exec("#!/bin/sh\n"))
					elsewhere = unknown
				}
				top := t.TempDir()
				restoreTree(t, top, f.tree)
				root := strings.SplitN(f.base, "/", 2)[0]
				check := func(in string, o outcome, want string) {
					status := statusDone
					if want != "" {
						status = statusInvalid
					}
					if got := bundleProblems(t, o.stdout); o.status != status || got != want {
						t.Errorf("%s, Info.plist %v, alone %v, %s: status %d, %q; want %q", form, info, alone, in, o.status, got, want)
					}
				}
				verify := func(dir string) outcome { return invoke(nil, "verify", "--format", "json", dir) }
				check("directory around it", verify(top), other)
				check("directory", verify(filepath.Join(top, root)), other)
				if form != "flat" {
					check("base", verify(filepath.Join(top, f.base)), elsewhere)
				}
				archive := func(tree nartest.Node) outcome {
					return invoke(strings.NewReader(string(nartest.Tree(tree))), "verify", "--format", "json")
				}
				check("archive around it", archive(nartest.Dir{"x": f.tree}), other)
				if !info { // by which the root of an archive would be known as a bundle
					elsewhere = path + "no directory around it has the name of a bundle"
				}
				check("archive of the base", archive(dirAt(f.tree, f.base)), elsewhere)
				if info {
					check("archive", archive(dirAt(f.tree, root)), elsewhere)
				}
			}
		}
	}
}

// The executable of a nested bundle is the one that CFBundle finds. If that is not clear, the bundle is not checked.
func TestNestedExecutable(t *testing.T) {
	const (
		at      = "Frameworks/F.framework"
		changed = at + ": nested code changed"
		other   = at + ": nested code not checked: "
		beside  = "Versions/A/_CodeSignature/CodeResources: not checked: entries beside it may give the bundle another form; "
		several = other + "its Info.plist may be read in several ways; Resources/Info.plist: not checked: Info.plist may be read in several ways"
	)
	build := func(info string, inBase string) nartest.Dir {
		code := func(text string) machotest.Image {
			return machotest.Image{Text: []byte(text), Directories: []machotest.Directory{{PageShift: 12}}}
		}
		inner := &machotest.SealedBundle{Form: "framework", Executable: "Good", Image: code("good"), Info: info, Files: map[string]any{"Bad": code("bad"), "z": "z"}}
		if inBase != "" {
			inner.Files["Info.plist"] = inBase
		}
		outer := &machotest.SealedBundle{Form: "contents", Executable: "App", Info: string(infoFor("App")), Files: map[string]any{at: inner}}
		return nartest.Dir{"App.app": treeOf(outer)}
	}
	named := func(s string) string { return string(infoFor(s)) }
	key := func(key string) string {
		return strings.Replace(named("Good"), "</dict>", "<key>"+key+"</key><string>Bad</string></dict>", 1)
	}
	for _, test := range []struct {
		name    string
		tree    nartest.Dir
		change  func(framework nartest.Dir)
		problem string
	}{
		{name: "good", tree: build(named("Good"), "")},
		{name: "another Info.plist in the base", tree: build(named("Good"), named("Bad"))},
		{name: "the right one in the base", tree: build(named("Bad"), named("Good")), problem: changed +
			"; _CodeSignature/CodeResources: not checked: the executable that seals it is not the main one"},
		{name: "a key twice", tree: build(key("CFBundleExecutable"), ""), problem: several},
		{name: "a key for macOS", tree: build(key("CFBundleExecutable-macos"), ""), problem: several},
		{name: "text", tree: build("{ CFBundleExecutable = Bad; }", ""), problem: several},
		{name: "elsewhere", tree: build(named("../A/Good"), ""), problem: other + "its Info.plist names an executable in another directory; " +
			"_CodeSignature/CodeResources: not checked: Info.plist names an executable in another directory"},
		{name: "two versions", tree: build(named("Good"), ""), change: func(f nartest.Dir) {
			f["Versions"].(nartest.Dir)["Current"] = nartest.Symlink("./A/")
		}},
		{name: "Current elsewhere", tree: build(named("Good"), ""), change: func(f nartest.Dir) {
			f["Versions"].(nartest.Dir)["Current"] = nartest.Symlink("../Versions/A")
		}, problem: "Versions/A/_CodeSignature/CodeResources: not checked: Versions/Current is no symlink to a version that was compared; " + other + "its Versions/Current is not the name of a version"},
		{name: "Contents, too", tree: build(named("Good"), ""), change: func(f nartest.Dir) { f["Contents"] = nartest.Symlink("Versions/A") },
			problem: beside + other + "it has a form that is not known"},
		{name: "Support Files", tree: build(named("Good"), ""), change: func(f nartest.Dir) { f["Support Files"] = nartest.Dir{} },
			problem: beside + other + "it has a form that is not known"},
	} {
		if test.change != nil {
			test.change(dirAt(test.tree, "App.app/Contents/"+at))
		}
		got := strings.Split(test.problem, "; ")
		t.Run(test.name, func(t *testing.T) { testBundle(t, test.tree, test.problem, strings.Join(reversed(got), "; ")) })
	}
}

func reversed(list []string) (out []string) {
	for _, s := range list {
		out = append([]string{s}, out...)
	}
	return out
}

// A slice of an executable, or the CodeDirectory that counts, does not seal the list that others seal: on the machine that
// uses it, nothing seals the files.
func TestSealedPartly(t *testing.T) {
	const problem = "MacOS/Main: a slice, or the CodeDirectory that counts, does not seal the list of resources"
	build := func(sealed ...bool) *bundleForm {
		f := formNamed(t, "App.app")
		read := func(path string) []byte {
			dir, name := f.inBase(path)
			return []byte(dir[name].(nartest.File))
		}
		info, list := read("Info.plist"), read("_CodeSignature/CodeResources")
		var parts []machotest.Slice
		for i, sealed := range sealed {
			external := map[int][]byte{1: info}
			if sealed {
				external[3] = list
			}
			cpu, sub := []uint32{0x01000007, 0x0100000c}[i], []uint32{3, 0}[i]
			data, _ := machotest.Image{CPU: cpu, Sub: sub, Directories: []machotest.Directory{{PageShift: 12}}, External: external}.Build()
			parts = append(parts, machotest.Slice{CPU: cpu, Sub: sub, Data: data})
		}
		f.put(f.main, nartest.Exec(machotest.Fat(false, false, parts...)))
		return f
	}
	testPartly := func(name string, f *bundleForm) {
		t.Run(name, func(t *testing.T) {
			o := invoke(strings.NewReader(string(nartest.Tree(f.tree))), "verify", "--format", "json", "--all")
			if o.status != statusInvalid || !strings.Contains(bundleProblems(t, o.stdout), problem) {
				t.Errorf("status %d, %s", o.status, o.stdout)
			}
		})
	}
	testBundle(t, build(true, true).tree, "")
	testPartly("the first", build(true, false))
	testPartly("the second", build(false, true))

	// SHA-1 seals the list, SHA-256 does not.
	f := formNamed(t, "App.app")
	f.edit(f.main, func(text string) string {
		b := []byte(text)
		at := strings.Index(text, "\xfa\xde\x0c\xc0")
		for i := range int(b[at+11]) {
			entry := b[at+12+8*i:]
			cd := b[at+(int(entry[5])<<16|int(entry[6])<<8|int(entry[7])):]
			if string(cd[:4]) == "\xfa\xde\x0c\x02" && cd[37] == 2 {
				slots := int(cd[18])<<8 | int(cd[19])
				copy(cd[slots-3*32:slots-2*32], make([]byte, 32))
			}
		}
		return string(b)
	})
	testPartly("another CodeDirectory", f)
}

// A bundle deeper than any is compared is not valid, whatever the names of the directories around it: a rewrite does not
// break its seal without a word.
func TestDeepBundle(t *testing.T) {
	for _, script := range []bool{false, true} {
		for _, depth := range []int{62, 63, 64, 65, 66, 70, 100} {
			f := &bundleForm{base: "X", main: "Main", info: "Info.plist", tree: nartest.Dir{"X": nartest.Dir{"Files": nartest.Dir{}}}}
			f.seal(script)
			f.edit("z", strings.ToUpper)
			var tree nartest.Node = f.tree
			for range depth {
				tree = nartest.Dir{"d": tree}
			}
			archive := string(nartest.Tree(tree))
			for _, args := range [][]string{{"verify"}, {"repair", "-o", filepath.Join(t.TempDir(), "out")}} {
				if o := invoke(strings.NewReader(archive), args...); o.status != statusInvalid {
					t.Errorf("%v, %d directories, script %v: status %d: %s%s", args, depth, script, o.status, o.stdout, o.stderr)
				}
			}
			// A valid one that a rewrite touches.
			f.put("z", nartest.File(hashA))
			files := map[string]string{"Files/a": "resource a", "Files/b": "resource b", "z": hashA}
			f.put("_CodeSignature/CodeResources", nartest.File(sealList(files, map[string]string{"Files/link": "a"})))
			f.sign()
			archive = string(nartest.Tree(tree))
			o := invoke(strings.NewReader(archive), "rewrite", "--map", hashA+"="+hashB, "-o", filepath.Join(t.TempDir(), "out"))
			if o.status != statusInvalid {
				t.Errorf("rewrite, %d directories, script %v: status %d: %s", depth, script, o.status, o.stderr)
			}
		}
	}
}
