package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// cdhashes returns a requirement for the CodeDirectories of an image.
func cdhashes(image []byte) string {
	be := binary.BigEndian
	at := bytes.Index(image, []byte{0xfa, 0xde, 0x0c, 0xc0})
	blob := image[at:]
	var all []string
	for i := range int(be.Uint32(blob[8:])) {
		slot, off := be.Uint32(blob[12+8*i:]), be.Uint32(blob[16+8*i:])
		if slot != 0 && slot != 0x1000 {
			continue
		}
		cd := blob[off:][:be.Uint32(blob[off+4:])]
		sum := sha1.Sum(cd)
		hash := sum[:]
		if cd[37] == 2 {
			sum := sha256.Sum256(cd)
			hash = sum[:20]
		}
		all = append(all, fmt.Sprintf("cdhash H&quot;%x&quot;", hash))
	}
	return strings.Join(all, " or ")
}

// nestedLevels is an application with a loose library and an application inside, with the same inside, and so on.
func nestedLevels(levels int, text string) (tree nartest.Dir, main []byte) {
	library, _ := machotest.Image{Text: []byte(text), Directories: []machotest.Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12}}}.Build()
	files := map[string]string{"Resources/text": text, "z": "z " + text}
	code := map[string][]byte{"Frameworks/l.dylib": library}
	info := string(infoFor("Main"))
	contents := nartest.Dir{
		"Frameworks": nartest.Dir{"l.dylib": nartest.Exec(library)}, "Info.plist": nartest.File(info), "MacOS": nartest.Dir{},
		"Resources": nartest.Dir{"text": nartest.File(text)}, "z": nartest.File("z " + text),
	}
	if levels > 1 {
		inner, image := nestedLevels(levels-1, text)
		contents["PlugIns"] = nartest.Dir{"In.app": inner}
		code["PlugIns/In.app"] = image
	}
	var list strings.Builder
	list.WriteString(strings.TrimSuffix(strings.Split(sealList(files, nil), "</dict><key>rules2")[0], "\n"))
	for _, path := range []string{"Frameworks/l.dylib", "PlugIns/In.app"} {
		if image := code[path]; image != nil {
			fmt.Fprintf(&list, "\n<key>%s</key><dict><key>requirement</key><string>%s</string></dict>", path, cdhashes(image))
		}
	}
	list.WriteString("</dict><key>rules2</key><dict><key>^.*</key><true/>" +
		`<key>^Info\.plist$</key><dict><key>omit</key><true/><key>weight</key><real>20</real></dict>` +
		`<key>^(Frameworks|PlugIns)/</key><dict><key>nested</key><true/><key>weight</key><real>10</real></dict></dict></dict></plist>`)
	main, _ = machotest.Image{Text: []byte(text), Directories: []machotest.Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12}},
		External: map[int][]byte{1: []byte(info), 3: []byte(list.String())}}.Build()
	contents["MacOS"] = nartest.Dir{"Main": nartest.Exec(main)}
	contents["_CodeSignature"] = nartest.Dir{"CodeResources": nartest.File(list.String())}
	return nartest.Dir{"Contents": contents}, main
}

// replaced returns a tree in whose files old is now, as sed does.
func replaced(n nartest.Node, old, now string) nartest.Node {
	switch n := n.(type) {
	case nartest.File:
		return nartest.File(strings.ReplaceAll(string(n), old, now))
	case nartest.Exec:
		return nartest.Exec(strings.ReplaceAll(string(n), old, now))
	case nartest.Dir:
		dir := nartest.Dir{}
		for name, sub := range n {
			dir[name] = replaced(sub, old, now)
		}
		return dir
	}
	return n
}

// TestInPlaceBundles changes a store path in every file of bundles inside each other: repair --in-place makes of them what
// the generator makes with the other path, to the byte, and back.
func TestInPlaceBundles(t *testing.T) {
	textA, textB := "/nix/store/"+hashA+"-x", "/nix/store/"+hashB+"-x"
	a, _ := nestedLevels(3, textA)
	b, _ := nestedLevels(3, textB)
	top := t.TempDir()
	dir := filepath.Join(top, "App.app")
	put := func(tree nartest.Dir) {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		restoreTree(t, dir, tree)
	}
	for _, test := range []struct {
		from, to         nartest.Dir
		textFrom, textTo string
	}{{a, b, textA, textB}, {b, a, textB, textA}, {a, a, textA, textA}} {
		put(replaced(test.from, test.textFrom, test.textTo).(nartest.Dir))
		for run := range 2 {
			o := invoke(nil, "repair", "--in-place", top)
			if o.status != statusDone || run == 1 && !strings.HasPrefix(o.stdout, "0 files repaired") {
				t.Fatalf("run %d: status %d: %s%s", run, o.status, o.stdout, o.stderr)
			}
			if got := readTree(t, dir); !reflect.DeepEqual(got, test.to) {
				t.Fatalf("run %d: not what the generator makes", run)
			}
		}
		if o := invoke(nil, "verify", top); o.status != statusDone {
			t.Errorf("verify: status %d: %s", o.status, o.stdout)
		}
	}
}

// TestInPlaceBundleForms changes a resource and the Info.plist of a bundle of each form.
func TestInPlaceBundleForms(t *testing.T) {
	for _, f := range bundleForms() {
		top := t.TempDir()
		f.edit("Files/a", strings.ToUpper)
		f.edit("z", strings.ToUpper)
		f.edit(f.info, longer)
		restoreTree(t, top, f.tree)
		o := invoke(nil, "repair", "--in-place", top)
		if f.script {
			if o.status != statusInvalid {
				t.Errorf("%s: status %d, want 3: %s%s", f.name, o.status, o.stdout, o.stderr)
			}
			continue
		}
		// What the generator makes of the changed files.
		f.put("_CodeSignature/CodeResources", nartest.File(sealList(map[string]string{
			"Files/a": "RESOURCE A", "Files/b": "resource b", "z": "BEHIND THE LIST",
		}, map[string]string{"Files/link": "a"})))
		f.sign()
		if got := readTree(t, top); o.status != statusDone || !reflect.DeepEqual(got, f.tree) {
			t.Errorf("%s: status %d, not what the generator makes: %s%s", f.name, o.status, o.stdout, o.stderr)
		}
	}
}

// What cannot be sealed again is reported: an added file, a missing one, and a bundle that is signed by a certificate.
func TestInPlaceBundleLeft(t *testing.T) {
	for _, change := range bundleChanges(bundleForms()[0]) {
		if !strings.Contains(change.name, "added") && !strings.Contains(change.name, "missing") && !strings.HasPrefix(change.name, "no ") {
			continue
		}
		f := bundleForms()[0]
		change.change(f)
		top := t.TempDir()
		restoreTree(t, top, f.tree)
		o := invoke(nil, "repair", "--in-place", top)
		if got := readTree(t, top); o.status != statusInvalid || !reflect.DeepEqual(got, f.tree) {
			t.Errorf("%s: status %d, changed %v: %s%s", change.name, o.status, !reflect.DeepEqual(got, f.tree), o.stdout, o.stderr)
		}
	}
}

// Modes, modification times and hard links are kept, in directories that may not be written.
func TestInPlaceBundleAttributes(t *testing.T) {
	f := bundleForms()[0]
	f.edit("Files/a", strings.ToUpper)
	top := t.TempDir()
	restoreTree(t, top, f.tree)
	base := filepath.Join(top, f.base)
	names := []string{"MacOS/Main", "_CodeSignature/CodeResources"}
	when := time.Unix(1, 0)
	for i, name := range names {
		name = filepath.Join(base, name)
		if err := os.Chmod(name, []os.FileMode{0o555, 0o444}[i]); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, when, when); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(name)
		if err := os.Chtimes(dir, when, when); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	}
	second := filepath.Join(top, "Second.app")
	if out, err := exec.Command("cp", "-al", filepath.Join(top, "App.app"), second).CombinedOutput(); err != nil {
		t.Skipf("cp -al: %v: %s", err, out)
	}
	if status, stderr := runStatus(t, exec.Command("narseal", "repair", "--in-place", top)); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for i, name := range names {
		path := filepath.Join(base, name)
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != []os.FileMode{0o555, 0o444}[i] || !info.ModTime().Equal(when) {
			t.Errorf("%s: %v, %v", name, info.Mode(), info.ModTime())
		}
		other, err := os.Lstat(filepath.Join(second, "Contents", name))
		if err != nil || !os.SameFile(info, other) {
			t.Errorf("%s: the hard link is gone: %v", name, err)
		}
		dir, err := os.Lstat(filepath.Dir(path))
		if err != nil || dir.Mode().Perm() != 0o555 || !dir.ModTime().Equal(when) {
			t.Errorf("directory of %s: %v, %v: %v", name, dir.Mode(), dir.ModTime(), err)
		}
	}
}

// TestInPlaceBundlesKilled kills repairs of nested bundles: the next run makes what the generator makes.
func TestInPlaceBundlesKilled(t *testing.T) {
	textA, textB := "/nix/store/"+hashA+"-x", "/nix/store/"+hashB+"-x"
	a, _ := nestedLevels(3, textA)
	want, _ := nestedLevels(3, textB)
	stale := replaced(a, textA, textB).(nartest.Dir)
	random := rand.New(rand.NewPCG(19, 1))
	killed, partly := 0, 0
	for range killCount(t, 10) {
		dir := filepath.Join(t.TempDir(), "App.app")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		restoreTree(t, dir, stale)
		inode := func(name string) (n uint64) {
			var st syscall.Stat_t
			if err := syscall.Lstat(filepath.Join(dir, name), &st); err != nil {
				t.Fatal(err)
			}
			return st.Ino
		}
		watch := []string{"Contents/_CodeSignature/CodeResources", "Contents/MacOS/Main", "Contents/PlugIns/In.app/Contents/_CodeSignature/CodeResources"}
		name := watch[random.IntN(len(watch))]
		before := inode(name)
		cmd := exec.Command("narseal", "repair", "--in-place", dir)
		if killWhen(t, cmd, syscall.SIGKILL, random, func() bool { return inode(name) != before }) {
			killed++
		}
		if !reflect.DeepEqual(readTree(t, dir), want) {
			partly++
		}
		// What a kill between two steps leaves, which would count as a file of the bundle.
		writeFile(t, filepath.Join(dir, "Contents/MacOS/.narseal-0123456789abcdef"), []byte("x"))
		status, stderr := runStatus(t, exec.Command("narseal", "repair", "--in-place", dir))
		if got := readTree(t, dir); status != 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("after a kill, status %d, as the generator makes it: %v: %s", status, reflect.DeepEqual(got, want), stderr)
		}
	}
	t.Logf("%d killed, %d of them with work left", killed, partly)
}
