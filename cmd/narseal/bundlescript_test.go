package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// nestedScript is an application that seals an application whose main executable is a script, by its cdhash.
func nestedScript() (outer, inner *bundleForm) {
	for _, f := range bundleForms() {
		if f.script && strings.HasSuffix(f.base, "/Contents") {
			inner = f
		}
	}
	dir, name := inner.inBase("_CodeSignature/CodeRequirements-1")
	sum := sha256.Sum256([]byte(dir[name].(nartest.File)))
	list := `<plist><dict><key>files2</key><dict><key>PlugIns/Script.app</key><dict><key>requirement</key><string>cdhash H"` +
		fmt.Sprintf("%x", sum[:20]) + `"</string></dict></dict><key>rules2</key><dict><key>^.*</key><true/><key>^Info\.plist$</key>` +
		`<dict><key>omit</key><true/><key>weight</key><real>20</real></dict><key>^PlugIns/</key><dict><key>nested</key><true/>` +
		`<key>weight</key><real>10</real></dict></dict></dict></plist>`
	info := infoFor("Main")
	data, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}, External: map[int][]byte{1: []byte(info), 3: []byte(list)}}.Build()
	outer = &bundleForm{base: "App.app/Contents", main: "MacOS/Main", info: "Info.plist", tree: nartest.Dir{"App.app": nartest.Dir{"Contents": nartest.Dir{
		"Info.plist": info, "MacOS": nartest.Dir{"Main": nartest.Exec(data)}, "PlugIns": inner.tree,
		"_CodeSignature": nartest.Dir{"CodeResources": nartest.File(list)},
	}}}}
	return outer, inner
}

// A bundle with a script is sealed by another one, by its cdhash.
func TestNestedScript(t *testing.T) {
	outer, _ := nestedScript()
	testBundle(t, outer.tree, "")
	outer, inner := nestedScript()
	inner.edit("_CodeSignature/CodeRequirements-1", func(s string) string { return strings.Replace(s, "org.example", "org.Example", 1) })
	testBundle(t, outer.tree, "PlugIns/Script.app: nested code changed")
	outer, inner = nestedScript()
	inner.remove("_CodeSignature")
	testBundle(t, outer.tree, "PlugIns/Script.app: nested code is not signed")
}

// A bundle without an executable has its Info.plist signed in its place.
func TestBundleWithoutExecutable(t *testing.T) {
	build := func() *bundleForm {
		f := &bundleForm{base: "Data.bundle/Contents", main: "MacOS/Main", info: "Info.plist",
			tree: nartest.Dir{"Data.bundle": nartest.Dir{"Contents": nartest.Dir{"MacOS": nartest.Dir{}, "Files": nartest.Dir{}}}}}
		f.seal(true)
		f.remove("MacOS")
		info := "<plist><dict><key>CFBundleName</key><string>Data</string></dict></plist>"
		f.put("Info.plist", nartest.File(info))
		dir, _ := f.inBase("_CodeSignature/CodeResources")
		delete(dir, "CodeRequirements-1")
		special := map[int]string{1: info, 2: string(dir["CodeRequirements"].(nartest.File)), 3: string(dir["CodeResources"].(nartest.File))}
		dir["CodeDirectory"] = nartest.File(detachedDirectory(2, info, special))
		return f
	}
	testBundle(t, build().tree, "")
	f := build()
	f.edit("Info.plist", strings.ToUpper)
	testBundle(t, f.tree, "Info.plist: changed; Info.plist: changed")
	f = build()
	f.edit("Files/a", strings.ToUpper)
	testBundle(t, f.tree, "Files/a: changed")
}

// A script of more pages than are kept is not checked, and so never valid.
func TestLargeScript(t *testing.T) {
	for _, f := range bundleForms() {
		if !f.script {
			continue
		}
		text := "#!/bin/sh\n" + strings.Repeat("#", 3<<20)
		f.put(f.main, nartest.Exec(text))
		dir, name := f.inBase("_CodeSignature/CodeDirectory")
		delete(dir, "CodeRequirements-1")
		special := map[int]string{}
		for k, path := range map[int]string{1: f.info, 2: "_CodeSignature/CodeRequirements", 3: "_CodeSignature/CodeResources"} {
			d, n := f.inBase(path)
			special[k] = string(d[n].(nartest.File))
		}
		dir[name] = nartest.File(detachedDirectory(2, text, special))
		testBundle(t, f.tree, f.main+": not checked: it is no script, or too large")
	}
}

// Security.framework does not take parts of a signature from both an image and files.
func TestFilesBesideSignature(t *testing.T) {
	for _, name := range []string{"CodeDirectory", "CodeRequirements", "CodeRequirements-1", "CodeRequirements-5", "codesignature", "CodeTopDirectory", "CodeEntitlements", "CodeRepSpecific", "CodeEntitlementDER", "Other", "CodeRequirements-x"} {
		for _, form := range []string{"App.app", "flat", "framework"} {
			f := formNamed(t, form)
			f.put("_CodeSignature/"+name, nartest.File("x"))
			problem := "_CodeSignature/CodeResources: not checked: the main executable has a signature of its own, and _CodeSignature/" + name + " may be part of another"
			if name == "Other" || name == "CodeRequirements-x" {
				problem = ""
			}
			testBundle(t, nartest.Dir{"x": f.tree}, problem)
		}
	}
}

// The main executable may have other names, also where no main executables are, before it and after it.
func TestLinkedScript(t *testing.T) {
	for _, f := range bundleForms() {
		if !f.script {
			continue
		}
		f.edit(f.main, func(s string) string { return s + strings.Repeat("echo more\n", 5000) })
		dir, name := f.inBase(f.main)
		text := string(dir[name].(nartest.Exec))
		files := map[string]string{"Files/a": "resource a", "Files/b": "resource b", "z": "behind the list", "Files/copy": text, "zcopy": text}
		f.put("Files/copy", nartest.Exec(text))
		f.put("zcopy", nartest.Exec(text))
		f.put("_CodeSignature/CodeResources", nartest.File(sealList(files, map[string]string{"Files/link": "a"})))
		f.sign()
		top := t.TempDir()
		restoreTree(t, top, f.tree)
		first := filepath.Join(top, f.base, f.main)
		others := []string{filepath.Join(top, f.base, "Files/copy"), filepath.Join(top, f.base, "zcopy"),
			filepath.Join(top, "A.app/Contents/Resources/copy"), filepath.Join(top, "Z.app/Contents/MacOS/Z"), filepath.Join(top, "0")}
		for _, other := range others {
			if err := os.MkdirAll(filepath.Dir(other), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(other); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(first, other); err != nil {
				t.Fatal(err)
			}
			for _, jobs := range []string{"1", "1", "8"} {
				if o := invoke(nil, "verify", "-j", jobs, top); o.status != statusDone {
					t.Errorf("%s, link %s, %s jobs: status %d: %s%s", f.name, other, jobs, o.status, o.stdout, o.stderr)
				}
			}
		}
		writeFile(t, first, []byte(strings.ToUpper(text))) // in all names
		if o := invoke(nil, "verify", "--format", "json", top); o.status != statusInvalid || !strings.Contains(bundleProblems(t, o.stdout), f.main+": changed") {
			t.Errorf("%s: status %d: %s", f.name, o.status, o.stdout)
		}
	}
}

// TestHostileCodeDirectory damages the CodeDirectory files of a script at random: verify ends with 0 or 3, and with 3
// where a slot of a page, or of what is beside the script, is another.
func TestHostileCodeDirectory(t *testing.T) {
	random := rand.New(rand.NewPCG(19, 3))
	for i := range 400 {
		f := bundleForms()[4+i%2]
		name := []string{"CodeDirectory", "CodeRequirements-1"}[i/2%2]
		slots := false
		f.edit("_CodeSignature/"+name, func(text string) string {
			b := []byte(text)
			from := int(binary.BigEndian.Uint32(b[16:])) - 3*int(b[36]) // of special slot -3
			at := random.IntN(len(b))
			if i%4 < 2 {
				at = random.IntN(48) // the header
			}
			slots = at >= from
			switch random.IntN(3) {
			case 0:
				b[at] ^= 1 << random.IntN(8)
			case 1:
				b[at] = ^b[at]
			case 2:
				b, slots = b[:at], true
			}
			return string(b)
		})
		o := invoke(bytes.NewReader(nartest.Tree(f.tree)), "verify", "-q")
		if o.status != statusInvalid && (o.status != statusDone || slots) {
			t.Errorf("%d, %s of %s: status %d: %s", i, name, f.name, o.status, o.stderr)
		}
	}
	// Numbers of slots that a file has no room for, or that nobody needs.
	for _, n := range []uint32{65, 1000, 1 << 20, 1<<32 - 1} {
		for _, at := range []int{24, 28, 32} { // special slots, pages, the code limit
			f := bundleForms()[4]
			f.edit("_CodeSignature/CodeDirectory", func(text string) string {
				b := append([]byte(text), make([]byte, 1<<19)...)
				binary.BigEndian.PutUint32(b[4:], uint32(len(b)))
				binary.BigEndian.PutUint32(b[16:], uint32(len(b)/2))
				binary.BigEndian.PutUint32(b[at:], n)
				return string(b)
			})
			testBundleStatus(t, f, statusInvalid)
		}
	}
}

func testBundleStatus(t *testing.T, f *bundleForm, want int) {
	t.Helper()
	if o := invoke(bytes.NewReader(nartest.Tree(f.tree)), "verify", "-q"); o.status != want {
		t.Errorf("%s: status %d, want %d: %s%s", f.name, o.status, want, o.stdout, o.stderr)
	}
}
