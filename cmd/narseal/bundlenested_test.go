package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// treeOf returns a built bundle as a tree of a test.
func treeOf(b *machotest.SealedBundle) nartest.Dir {
	built, _ := b.Build()
	root := nartest.Dir{}
	for path, f := range built {
		dir, names := root, strings.Split(path, "/")
		for _, name := range names[:len(names)-1] {
			if dir[name] == nil {
				dir[name] = nartest.Dir{}
			}
			dir = dir[name].(nartest.Dir)
		}
		name := names[len(names)-1]
		switch {
		case f.Link != "":
			dir[name] = nartest.Symlink(f.Link)
		case f.Executable:
			dir[name] = nartest.Exec(f.Data)
		default:
			dir[name] = nartest.File(f.Data)
		}
	}
	return root
}

// A flat bundle lies in another one, which seals its files as files, at any depth. After a change in the inner bundle, a
// repair makes of both what the generator makes.
func TestInPlaceFlatInFlat(t *testing.T) {
	build := func(inner, text string) nartest.Dir {
		bundle := func(name, text string) *machotest.SealedBundle {
			return &machotest.SealedBundle{Form: "flat", Executable: name, Info: string(infoFor(name)), AsFiles: true, Files: map[string]any{"a": text}}
		}
		outer := bundle("App", "outer")
		outer.Files[inner] = bundle("Inner", text)
		return treeOf(outer)
	}
	for _, outer := range []string{"", "App.app", "x/App.app", "x/y/App.app"} {
		for _, inner := range []string{"Inner.bundle", "z.bundle", "PlugIns/Inner.bundle", "PlugIns/x/Inner.bundle"} {
			top := t.TempDir()
			dir := filepath.Join(top, outer)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			restoreTree(t, dir, build(inner, "text"))
			writeFile(t, filepath.Join(dir, inner, "a"), []byte("TEXT"))
			o := invoke(nil, "repair", "--in-place", top)
			if o.status != statusDone || !reflect.DeepEqual(readTree(t, dir), build(inner, "TEXT")) {
				t.Errorf("%s in %q: status %d, not what the generator makes: %s%s", inner, outer, o.status, o.stdout, o.stderr)
			}
		}
	}
}

// withLibrary is an application whose list has an entry for a library.
func withLibrary(library machotest.Image, entry func(cdhash []byte) string) nartest.Dir {
	outer := &machotest.SealedBundle{Form: "contents", Executable: "App", Info: string(infoFor("App")), Files: map[string]any{"Frameworks/l.dylib": library}}
	dir := treeOf(outer)["Contents"].(nartest.Dir)
	data := dir["Frameworks"].(nartest.Dir)["l.dylib"].(nartest.Exec)
	hash, _ := strings.CutPrefix(cdhashes([]byte(data)), "cdhash H&quot;")
	raw, err := hex.DecodeString(hash[:40])
	if err != nil {
		panic(err)
	}
	list := "<plist><dict><key>files2</key><dict><key>Frameworks/l.dylib</key><dict>" + entry(raw) +
		"</dict></dict><key>rules2</key><dict><key>^.*</key><true/><key>^Info</key><false/><key>^Frameworks/</key><dict><key>nested</key><true/>" +
		"<key>weight</key><real>10</real></dict></dict></dict></plist>"
	list = strings.Replace(list, "<false/>", "<dict><key>omit</key><true/><key>weight</key><real>20</real></dict>", 1)
	dir["_CodeSignature"] = nartest.Dir{"CodeResources": nartest.File(list)}
	main, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}, External: map[int][]byte{1: []byte(infoFor("App")), 3: []byte(list)}}.Build()
	dir["MacOS"] = nartest.Dir{"App": nartest.Exec(main)}
	return nartest.Dir{"App.app": nartest.Dir{"Contents": dir}}
}

// A repair does not change a bundle that is valid for the sake of a field that nobody reads.
func TestRepairLeavesValidBundle(t *testing.T) {
	library := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}}
	stale := base64.StdEncoding.EncodeToString(make([]byte, 20))
	tree := withLibrary(library, func(hash []byte) string {
		return fmt.Sprintf(`<key>cdhash</key><data>%s</data><key>requirement</key><string>cdhash H"%x"</string>`, stale, hash)
	})
	testBundle(t, tree, "")
	for _, onCMS := range []string{"keep", "adhoc"} {
		top := t.TempDir()
		restoreTree(t, top, tree)
		o := invoke(nil, "repair", "--in-place", "--on-cms", onCMS, top)
		if o.status != statusDone || !reflect.DeepEqual(readTree(t, top), tree) {
			t.Errorf("in place, %s: status %d, changed %v: %s%s", onCMS, o.status, !reflect.DeepEqual(readTree(t, top), tree), o.stdout, o.stderr)
		}
		archive := string(nartest.Tree(tree))
		o = invoke(strings.NewReader(archive), "repair", "--on-cms", onCMS)
		if o.status != statusDone || o.stdout != archive {
			t.Errorf("archive, %s: status %d, changed %v: %s", onCMS, o.status, o.stdout != archive, o.stderr)
		}
	}
}

// No certificate signs ad-hoc signed code, so it does not meet a requirement on one. A repair replaces the requirement, also
// if an earlier run, which was killed, made the code ad-hoc signed.
func TestAdHocUnderCertificate(t *testing.T) {
	library := machotest.Image{Directories: []machotest.Directory{{PageShift: 12, Identifier: "org.lib"}}}
	const problem = "Frameworks/l.dylib: nested code is not signed by a certificate, which its requirement names"
	const long = `identifier "org.lib" and anchor apple generic and certificate leaf[subject.OU] = A1B2C3D4E5`
	var hash string
	build := func(requirement string) nartest.Dir {
		return withLibrary(library, func(h []byte) string {
			hash = fmt.Sprintf("%x", h)
			return "<key>requirement</key><string>" + requirement + "</string>"
		})
	}
	tree := build(long)
	testBundle(t, tree, problem)
	top := t.TempDir()
	restoreTree(t, top, tree)
	o := invoke(nil, "repair", "--in-place", top)
	want := fmt.Sprintf("%-*s", len(long), `cdhash H"`+hash+`"`)
	if got := readTree(t, top); o.status != statusDone || !reflect.DeepEqual(got, build(want)) {
		t.Errorf("status %d, not what the generator makes: %s%s", o.status, o.stdout, o.stderr)
	}
	testBundle(t, build(want), "")

	const short = `identifier "org.lib" and anchor apple`
	tree = build(short)
	restoreTree(t, filepath.Join(top), nartest.Dir{"short": tree})
	o = invoke(nil, "repair", "--in-place", filepath.Join(top, "short"))
	if got := readTree(t, filepath.Join(top, "short")); o.status != statusInvalid || !reflect.DeepEqual(got, tree) {
		t.Errorf("no room: status %d, changed %v: %s%s", o.status, !reflect.DeepEqual(got, tree), o.stdout, o.stderr)
	}
}
