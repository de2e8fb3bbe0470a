package main

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"howett.net/plist"

	"narseal/nar/nartest"
)

// realBundles are the sealed frameworks of npm's @nativescript/core 9.1.2 and what is wrong with them as published: a
// header was added to two of them after they were signed.
var realBundles = map[string]string{
	"NSCWinterTC.xcframework/ios-arm64_x86_64-simulator/NSCWinterTC.framework":  "",
	"NSCWinterTC.xcframework/xros-arm64_x86_64-simulator/NSCWinterTC.framework": "",
	"TNSWidgets.xcframework/ios-arm64_x86_64-simulator/TNSWidgets.framework":    "Headers/NSCCrypto.h: added",
	"TNSWidgets.xcframework/xros-arm64_x86_64-simulator/TNSWidgets.framework":   "Headers/NSCCrypto.h: added",
}

// realBundlesDir is where scripts/real-binaries puts these.
func realBundlesDir(t *testing.T) string {
	dir := os.Getenv("NARSEAL_REAL_BINARIES")
	if dir == "" {
		t.Skip("NARSEAL_REAL_BINARIES is not set: scripts/real-binaries --all DIR fetches them")
	}
	dir = filepath.Join(dir, "nativescript-core-9.1.2/package/platforms/ios")
	if _, err := os.Stat(dir); err != nil {
		t.Skip(err, ": only scripts/real-binaries --all fetches it")
	}
	return dir
}

// TestRealBundles verifies bundles that others published, as directories that are named, below one and as archives. Each
// of both slices has the problems. A changed file is named.
func TestRealBundles(t *testing.T) {
	root := realBundlesDir(t)
	for path, problem := range realBundles {
		dir := filepath.Join(t.TempDir(), filepath.Base(path))
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, path))); err != nil {
			t.Fatal(err)
		}
		check := func(problem string) {
			t.Helper()
			status, want := statusDone, ""
			if problem != "" {
				status, want = statusInvalid, problem+"; "+problem // of two slices
			}
			archive := filepath.Join(t.TempDir(), "nar")
			writeFile(t, archive, nartest.Dump(t, dir))
			for _, in := range []string{dir, filepath.Dir(dir), archive} {
				o := invoke(nil, "verify", "--format", "json", "--all", in)
				if got := bundleProblems(t, o.stdout); o.status != status || got != want {
					t.Errorf("%s: status %d, %s; want %s", path, o.status, got, want)
				}
			}
		}
		check(problem)
		header := filepath.Join(dir, "Headers", strings.TrimSuffix(filepath.Base(path), ".framework")+".h")
		data := readFile(t, header)
		writeFile(t, header, append([]byte("//"), data...))
		changed := "Headers/" + filepath.Base(header) + ": changed"
		if problem != "" {
			check(problem + "; " + changed)
		} else {
			check(changed)
		}
		writeFile(t, header, data)
		check(problem)
	}
}

// TestRealBundlesInPlace changes nearly every file of a bundle that others published: sealed again, nothing is found by
// other code, and changed back and sealed again, it is what it was, to the byte.
func TestRealBundlesInPlace(t *testing.T) {
	root := realBundlesDir(t)
	for path, problem := range realBundles {
		top := t.TempDir()
		name := strings.TrimSuffix(filepath.Base(path), ".framework")
		dir := filepath.Join(top, name+".framework")
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, path))); err != nil {
			t.Fatal(err)
		}
		published := readTree(t, dir)
		flip := func() (n int) {
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() || d.Name() == name || strings.Contains(path, "_CodeSignature") {
					return err
				}
				n++
				return os.WriteFile(path, changeReal(t, d.Name(), readFile(t, path)), 0)
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		seal := func() {
			t.Helper()
			status := statusDone
			if problem != "" {
				status = statusInvalid // the header that was added stays a problem
			}
			o := invoke(nil, "repair", "--in-place", top)
			v := invoke(nil, "verify", "--format", "json", top)
			want := ""
			if problem != "" {
				want = problem + "; " + problem
			}
			if got := bundleProblems(t, v.stdout); o.status != status || v.status != status || got != want {
				t.Errorf("%s: status %d, %d, %s; want %s: %s", path, o.status, v.status, got, want, o.stderr)
			}
		}
		n := flip()
		seal()
		tree := readTree(t, dir)
		list := []byte(tree["_CodeSignature"].(nartest.Dir)["CodeResources"].(nartest.File))
		var all map[string]any
		if _, err := plist.Unmarshal(list, &all); err != nil {
			t.Fatal(err)
		}
		m := &mutant{form: &bundleForm{main: name}}
		if err := m.compare(tree, "", all["files2"].(map[string]any), all["rules2"].(map[string]any)); err != nil && problem == "" {
			t.Errorf("%s: %v", path, err)
		}
		image := readFile(t, filepath.Join(dir, name))
		for _, sealed := range [][]byte{list, readFile(t, filepath.Join(dir, "Info.plist"))} {
			if sum := sha256.Sum256(sealed); bytes.Count(image, sum[:]) != 2 { // in each of two slices
				t.Errorf("%s: the slices do not seal %.40q…", path, sealed)
			}
		}
		flip()
		seal()
		if !reflect.DeepEqual(readTree(t, dir), published) {
			t.Errorf("%s: changed back, it is not what was published", path)
		}
		t.Logf("%s: %d files changed and changed back", path, n)
	}
}

// TestBundlesOnMac signs a bundle of each form with codesign, changes it, and compares verify with codesign.
func TestBundlesOnMac(t *testing.T) {
	if runtime.GOOS != "darwin" {
		t.Skip("needs a Mac")
	}
	codesign := nartest.Tool(t, "codesign")
	image := nartest.Exec(golden(t, "A/lld-arm64"))
	for i, first := range bundleForms() {
		for _, change := range bundleChanges(first) {
			f := bundleForms()[i]
			if !f.script {
				f.put(f.main, image)
			}
			f.remove("_CodeSignature")
			f.edit(f.info, func(s string) string {
				return strings.Replace(s, "</dict>", "<key>CFBundleIdentifier</key><string>org.example.main</string></dict>", 1)
			})
			dir := t.TempDir()
			bundle := filepath.Join(dir, strings.SplitN(f.base, "/", 2)[0])
			restoreTree(t, dir, f.tree)
			if out, err := exec.Command(codesign, "--force", "--sign", "-", bundle).CombinedOutput(); err != nil {
				t.Fatalf("%s: codesign: %v: %s", f.name, err, out)
			}
			f.tree = readTree(t, dir)
			change.change(f)
			if err := os.RemoveAll(bundle); err != nil {
				t.Fatal(err)
			}
			restoreTree(t, dir, f.tree)
			out, err := exec.Command(codesign, "--verify", "--deep", "--strict", bundle).CombinedOutput()
			o := invoke(nil, "verify", bundle)
			// A bundle that has no signature at all is invalid for codesign only.
			if (err == nil) != (o.status == statusDone) && change.name != "not signed" {
				t.Errorf("%s, %s: codesign: %v: %s; verify: status %d: %s", f.name, change.name, err, out, o.status, o.stdout)
			}
		}
	}
}

// restoreTree writes a tree.
func restoreTree(t *testing.T, dir string, tree nartest.Dir) {
	t.Helper()
	for name, n := range tree {
		path := filepath.Join(dir, name)
		var err error
		switch n := n.(type) {
		case nartest.File:
			err = os.WriteFile(path, []byte(n), 0o644)
		case nartest.Exec:
			err = os.WriteFile(path, []byte(n), 0o755)
		case nartest.Symlink:
			err = os.Symlink(string(n), path)
		case nartest.Dir:
			if err = os.Mkdir(path, 0o755); err == nil {
				restoreTree(t, path, n)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// readTree reads a tree.
func readTree(t *testing.T, dir string) nartest.Dir {
	t.Helper()
	n, err := readNode(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n.(nartest.Dir)
}
