package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// A bundleForm is a bundle as a test makes it: one of the forms in which macOS knows them.
type bundleForm struct {
	name string
	tree nartest.Dir // of the directory that it lies in
	base string      // path of what the list's paths count from
	main string      // path of the main executable from the base
	info string      // path of the Info.plist from the base

	script bool // the main executable is one
}

// dir returns the directory at a path.
func dirAt(tree nartest.Dir, path string) nartest.Dir {
	for name := range strings.SplitSeq(path, "/") {
		tree = tree[name].(nartest.Dir)
	}
	return tree
}

// inBase returns the directory of a path from the base, and its last name.
func (f *bundleForm) inBase(path string) (dir nartest.Dir, name string) {
	path = f.base + "/" + path
	return dirAt(f.tree, filepath.Dir(path)), filepath.Base(path)
}

func (f *bundleForm) put(path string, n nartest.Node) {
	dir, name := f.inBase(path)
	dir[name] = n
}

func (f *bundleForm) remove(path string) {
	dir, name := f.inBase(path)
	delete(dir, name)
}

// infoFor is an Info.plist.
func infoFor(executable string) nartest.File {
	return nartest.File("<plist><dict><key>CFBundleExecutable</key><string>" + executable + "</string></dict></plist>")
}

// sealList returns a list for files: nil for a symlink's target in links.
func sealList(files, links map[string]string) string {
	var s strings.Builder
	s.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\">\n<dict>\n\t<key>files2</key>\n\t<dict>\n")
	for _, path := range slices.Sorted(maps.Keys(files)) {
		one, two := sha1.Sum([]byte(files[path])), sha256.Sum256([]byte(files[path]))
		fmt.Fprintf(&s, "<key>%s</key><dict><key>hash</key><data>%s</data><key>hash2</key><data>%s</data></dict>\n",
			path, base64.StdEncoding.EncodeToString(one[:]), base64.StdEncoding.EncodeToString(two[:]))
	}
	for _, path := range slices.Sorted(maps.Keys(links)) {
		fmt.Fprintf(&s, "<key>%s</key><dict><key>symlink</key><string>%s</string></dict>\n", path, links[path])
	}
	s.WriteString("</dict><key>rules2</key><dict><key>^.*</key><true/>" +
		`<key>^(Resources/)?Info\.plist$</key><dict><key>omit</key><true/><key>weight</key><real>20</real></dict></dict></dict></plist>`)
	return s.String()
}

// seal puts the sealed files, the list, the Info.plist and the main executable into a form. A script has its signature
// in files.
func (f *bundleForm) seal(script bool) {
	files := map[string]string{"Files/a": "resource a", "Files/b": "resource b", "z": "behind the list"}
	for path, text := range files {
		f.put(path, nartest.File(text))
	}
	f.put("Files/link", nartest.Symlink("a"))
	list := sealList(files, map[string]string{"Files/link": "a"})
	info := infoFor(filepath.Base(f.main))
	f.put(f.info, info)
	signature := nartest.Dir{"CodeResources": nartest.File(list)}
	f.put("_CodeSignature", signature)
	if script {
		signature["CodeRequirements"] = nartest.File("\xfa\xde\x0c\x01\x00\x00\x00\x0c\x00\x00\x00\x00")
		signature["CodeSignature"] = nartest.File("")
		f.put(f.main, nartest.Exec("#!/bin/sh\n"+strings.Repeat("echo a script of several pages\n", 400)))
	}
	f.script = script
	f.sign()
}

// sign signs the Info.plist and the list that are there.
func (f *bundleForm) sign() {
	read := func(path string) string {
		dir, name := f.inBase(path)
		return string(dir[name].(nartest.File))
	}
	info, list := read(f.info), read("_CodeSignature/CodeResources")
	if !f.script {
		data, _ := machotest.Image{Directories: []machotest.Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12}},
			External: map[int][]byte{1: []byte(info), 3: []byte(list)}}.Build()
		f.put(f.main, nartest.Exec(data))
		return
	}
	dir, name := f.inBase(f.main)
	text := string(dir[name].(nartest.Exec))
	special := map[int]string{1: info, 2: read("_CodeSignature/CodeRequirements"), 3: list}
	f.put("_CodeSignature/CodeDirectory", nartest.File(detachedDirectory(1, text, special)))
	f.put("_CodeSignature/CodeRequirements-1", nartest.File(detachedDirectory(2, text, special)))
}

// detachedDirectory returns a CodeDirectory of version 0x20100 for a file that is no image, with pages of 4,096 bytes.
func detachedDirectory(hashType byte, text string, special map[int]string) string {
	hash := func(s string) []byte {
		if hashType == 1 {
			sum := sha1.Sum([]byte(s))
			return sum[:]
		}
		sum := sha256.Sum256([]byte(s))
		return sum[:]
	}
	const header, identifier = 48, "org.example.script\x00"
	size, last := len(hash("")), 0
	for k := range special {
		last = max(last, k)
	}
	var slots []byte
	for k := last; k > 0; k-- {
		if s, ok := special[k]; ok {
			slots = append(slots, hash(s)...)
		} else {
			slots = append(slots, make([]byte, size)...)
		}
	}
	n := 0
	for at := 0; at < len(text); at += 4096 {
		slots = append(slots, hash(text[at:min(at+4096, len(text))])...)
		n++
	}
	at := header + len(identifier)
	be := binary.BigEndian
	var b []byte
	for _, v := range []int{0xfade0c02, at + len(slots), 0x20100, 2, at + last*size, header, last, n, len(text)} {
		b = be.AppendUint32(b, uint32(v))
	}
	b = append(b, byte(size), hashType, 0, 12)
	b = append(b, make([]byte, 8)...) // spare2, scatterOffset
	return string(b) + identifier + string(slots)
}

// bundleForms returns a bundle of each form.
func bundleForms() []*bundleForm {
	contents := func(name string) *bundleForm {
		return &bundleForm{name: name, base: name + "/Contents", main: "MacOS/Main", info: "Info.plist",
			tree: nartest.Dir{name: nartest.Dir{"Contents": nartest.Dir{"MacOS": nartest.Dir{}, "Resources": nartest.Dir{}, "Files": nartest.Dir{}}}}}
	}
	flat := func() *bundleForm {
		return &bundleForm{name: "flat", base: "Flat.app", main: "Main", info: "Info.plist", tree: nartest.Dir{"Flat.app": nartest.Dir{"Files": nartest.Dir{}}}}
	}
	forms := []*bundleForm{contents("App.app"), contents("Driver.kext"), flat(), {
		name: "framework", base: "Lib.framework/Versions/A", main: "Lib", info: "Resources/Info.plist",
		tree: nartest.Dir{"Lib.framework": nartest.Dir{
			"Lib": nartest.Symlink("Versions/Current/Lib"), "Resources": nartest.Symlink("Versions/Current/Resources"),
			"Versions": nartest.Dir{"A": nartest.Dir{"Resources": nartest.Dir{}, "Files": nartest.Dir{}}, "Current": nartest.Symlink("A")},
		}},
	}}
	for _, f := range forms {
		f.seal(false)
	}
	for _, f := range []*bundleForm{contents("Script.app"), flat()} {
		f.script, f.name = true, "script, "+f.name
		f.seal(true)
		forms = append(forms, f)
	}
	return forms
}

// bundleChange is something that breaks a bundle's seal: its main executable is reported with the problem.
type bundleChange struct {
	name    string
	change  func(f *bundleForm)
	problem string
}

// edit changes a file at a path.
func (f *bundleForm) edit(path string, change func(text string) string) {
	dir, name := f.inBase(path)
	switch n := dir[name].(type) {
	case nartest.File:
		dir[name] = nartest.File(change(string(n)))
	case nartest.Exec:
		dir[name] = nartest.Exec(change(string(n)))
	}
}

func longer(text string) string { return text + "\n" }

// bundleChanges are the changes of a form, and what verify is to say.
func bundleChanges(f *bundleForm) []bundleChange {
	all := []bundleChange{
		{"nothing", func(*bundleForm) {}, ""},
		{"a resource", func(f *bundleForm) { f.edit("Files/a", strings.ToUpper) }, "Files/a: changed"},
		{"a resource behind the list", func(f *bundleForm) { f.edit("z", strings.ToUpper) }, "z: changed"},
		{"a missing resource", func(f *bundleForm) { f.remove("Files/b") }, "Files/b: missing"},
		{"an added file", func(f *bundleForm) { f.put("Files/c", nartest.File("")) }, "Files/c: added"},
		{"a symlink", func(f *bundleForm) { f.put("Files/link", nartest.Symlink("b")) }, "Files/link: symlink changed"},
		{"Info.plist", func(f *bundleForm) { f.edit(f.info, longer) }, "Info.plist: changed"},
		{"no Info.plist", func(f *bundleForm) { f.remove(f.info) }, "Info.plist: missing"},
		{"the list", func(f *bundleForm) { f.edit("_CodeSignature/CodeResources", longer) }, "_CodeSignature/CodeResources: changed"},
		{"no list", func(f *bundleForm) { f.remove("_CodeSignature/CodeResources") }, "_CodeSignature/CodeResources: missing"},
	}
	if !f.script {
		return append(all, bundleChange{"no _CodeSignature", func(f *bundleForm) { f.remove("_CodeSignature") }, "_CodeSignature/CodeResources: missing"},
			bundleChange{"neither list nor Info.plist", func(f *bundleForm) { f.remove("_CodeSignature"); f.remove(f.info) },
				"Info.plist: missing; _CodeSignature/CodeResources: missing"})
	}
	flip := func(from int) func(string) string { // a bit of a slot or page
		return func(text string) string {
			at := (len(text) + from) % len(text)
			return text[:at] + string([]byte{text[at] ^ 1}) + text[at+1:]
		}
	}
	return append(all,
		bundleChange{"not signed", func(f *bundleForm) { f.remove("_CodeSignature") }, ""}, // a script need not be
		bundleChange{"the script", func(f *bundleForm) { f.edit(f.main, flip(5000)) }, f.main + ": changed"},
		bundleChange{"one CodeDirectory", func(f *bundleForm) { f.edit("_CodeSignature/CodeDirectory", flip(-1)) }, f.main + ": changed"},
		bundleChange{"the other", func(f *bundleForm) { f.edit("_CodeSignature/CodeRequirements-1", flip(-1)) }, f.main + ": changed"},
		bundleChange{"no CodeDirectory", func(f *bundleForm) { f.remove("_CodeSignature/CodeDirectory") }, "_CodeSignature/CodeDirectory: missing"},
		bundleChange{"its magic", func(f *bundleForm) { f.edit("_CodeSignature/CodeDirectory", flip(0)) },
			"_CodeSignature/CodeDirectory: the magic is fbde0c02, want fade0c02"},
		bundleChange{"no alternate", func(f *bundleForm) { f.remove("_CodeSignature/CodeRequirements-1") }, ""},
		bundleChange{"the requirements", func(f *bundleForm) { f.edit("_CodeSignature/CodeRequirements", longer) },
			"_CodeSignature/CodeRequirements: changed"},
		bundleChange{"entitlements", func(f *bundleForm) { f.put("_CodeSignature/CodeEntitlements", nartest.File("")) }, "_CodeSignature/CodeEntitlements: added"},
	)
}

// bundleProblems returns the problems in JSON lines.
func bundleProblems(t *testing.T, lines string) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(lines) {
		var s struct {
			Status string
			Bundle *struct {
				Resources []struct{ Path, Problem string }
			}
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		if (s.Bundle != nil) != (s.Status == "bundle") {
			t.Errorf("%s", line)
		}
		if s.Bundle != nil {
			for _, r := range s.Bundle.Resources {
				all = append(all, r.Path+": "+r.Problem)
			}
		}
	}
	return strings.Join(all, "; ")
}

// TestBundleForms verifies bundles of every form in every form of input, with one change at a time.
func TestBundleForms(t *testing.T) {
	for i, first := range bundleForms() {
		for _, change := range bundleChanges(first) {
			f := bundleForms()[i]
			change.change(f)
			t.Run(first.name+"/"+change.name, func(t *testing.T) {
				testBundle(t, nartest.Dir{"Applications": f.tree}, change.problem)
				switch change.name {
				case "neither list nor Info.plist": // without a name, nothing else says that the root is a bundle
				case "no Info.plist": // nor does a stream then know what to hash
					testBundle(t, dirAt(f.tree, f.base), change.problem, change.problem+"; _CodeSignature/CodeResources: not checked: no directory around it has the name of a bundle",
						"_CodeSignature/CodeDirectory: not checked: no directory around it has the name of a bundle")
				default:
					testBundle(t, dirAt(f.tree, f.base), change.problem)
				}
			})
		}
	}
}

// testBundle verifies a tree in each form of input. All its problems are those of one of the given.
func testBundle(t *testing.T, tree nartest.Dir, problems ...string) {
	t.Helper()
	for name, in := range unsignedInputs(t, tree) {
		if strings.Contains(name, ",") || name == "packed archive" {
			continue // TestUnsigned has them
		}
		status := statusInvalid
		if problems[0] == "" {
			status = statusDone
		}
		o := invoke(bytes.NewReader(in.stdin), append(slices.Clone(in.args), "--format", "json", "--all")...)
		if got := bundleProblems(t, o.stdout); o.status != status || !slices.Contains(problems, got) {
			t.Errorf("%s: status %d, %s; want %q; %s", name, o.status, got, problems, o.stderr)
		}
	}
}

// An executable that was taken out of its bundle stays valid.
func TestTakenOutOfBundle(t *testing.T) {
	for _, f := range bundleForms() {
		dir, name := f.inBase(f.main)
		for _, tree := range []nartest.Dir{{name: dir[name]}, {"bin": nartest.Dir{name: dir[name], "zero": nartest.Exec("#!/bin/sh")}}} {
			testBundle(t, tree, "")
		}
	}
}

// TestBundlesInStore verifies a bundle of each form in a store, with one change at a time.
func TestBundlesInStore(t *testing.T) {
	s := newNixStore(t)
	var paths []closurePath
	want := map[string]string{}
	hash := 0
	for i, first := range bundleForms() {
		for _, change := range bundleChanges(first) {
			f := bundleForms()[i]
			change.change(f)
			hash++
			path := filepath.Join(s.dir, fmt.Sprintf("%032d-x", hash))
			paths = append(paths, closurePath{path: path, tree: nartest.Dir{"Applications": f.tree}})
			want[path] = change.problem
		}
	}
	s.nix(exportOf(paths), "nix-store", "--import")
	out, _ := s.want(statusInvalid, "store", "verify", "--format", "json", "--all")
	for path, problem := range want {
		lines := ""
		for line := range strings.Lines(out) {
			if strings.Contains(line, path) {
				lines += line
			}
		}
		if got := bundleProblems(t, lines); got != problem {
			t.Errorf("%s: %s; want %s", path, got, problem)
		}
	}
}
