package filter_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

// narOf returns the archive of a tree.
func narOf(tree machotest.Tree) []byte {
	root := nartest.Dir{}
	for path, f := range tree {
		dir := root
		names := strings.Split(path, "/")
		for _, name := range names[:len(names)-1] {
			if dir[name] == nil {
				dir[name] = nartest.Dir{}
			}
			dir = dir[name].(nartest.Dir)
		}
		var n nartest.Node = nartest.File(f.Data)
		if f.Link != "" {
			n = nartest.Symlink(f.Link)
		} else if f.Executable {
			n = nartest.Exec(f.Data)
		}
		dir[names[len(names)-1]] = n
	}
	return nartest.Tree(root)
}

// in puts a bundle into a tree.
func in(dir string, b *machotest.SealedBundle) machotest.Tree {
	tree := machotest.Tree{}
	built, _ := b.Build()
	for path, f := range built {
		tree[dir+"/"+path] = f
	}
	return tree
}

// A resealCase builds a tree with a hash in nearly every file. The trees for two hashes differ in nothing else but what
// follows from them.
type resealCase struct {
	name  string
	build func(hash string) machotest.Tree
}

var dual = []machotest.Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12}}

func resealCases() []resealCase {
	image := func(hash string) machotest.Image {
		return machotest.Image{Text: []byte(hash), CodeSize: 30_000, Directories: []machotest.Directory{{PageShift: 12}}}
	}
	dualImage := func(hash string) machotest.Image {
		im := image(hash)
		im.Directories = dual
		return im
	}
	order := func(hash string) func(string) string {
		return func(key string) string { return strings.ReplaceAll(key, hash, "@") }
	}
	app := func(hash string) *machotest.SealedBundle {
		return &machotest.SealedBundle{
			Form: "contents", Executable: "App", Image: image(hash), Info: "<plist><dict><key>x</key><string>" + hash + "</string></dict></plist>",
			Order: order(hash),
			Files: map[string]any{
				"Resources/a": "a " + hash, "Resources/b": "b", "Resources/en.lproj/s": "s " + hash,
				"Resources/link": machotest.Link("/nix/store/" + hash + "-x/y"), "Resources/" + hash + "-k": "k " + hash, "z": "z " + hash,
			},
		}
	}
	framework := func(hash string) *machotest.SealedBundle {
		b := app(hash)
		b.Form, b.Executable = "framework", "F"
		return b
	}
	flat := func(hash string) *machotest.SealedBundle {
		b := app(hash)
		b.Form, b.Executable = "flat", "flat"
		return b
	}
	deep := func(hash string) *machotest.SealedBundle {
		inner := app(hash)
		inner.Executable, inner.Image = "Inner", dualImage(hash)
		f := framework(hash)
		f.Files["PlugIns/Inner.app"] = inner
		f.Image = dualImage(hash)
		outer := app(hash)
		outer.Files["Frameworks/F.framework"] = f
		outer.Files["Frameworks/l.dylib"] = dualImage(hash)
		outer.Files["Frameworks/unchanged.dylib"] = image("")
		x := flat(hash)
		x.Info = `<plist><dict><key>CFBundleExecutable</key><string>flat</string></dict></plist>`
		outer.Files["XPCServices/X.xpc"] = x
		outer.Files["Frameworks/G.framework"] = flatNamed(flat(hash), "G")
		return outer
	}
	mk := func(dir string, b func(string) *machotest.SealedBundle, change func(*machotest.SealedBundle)) func(string) machotest.Tree {
		return func(hash string) machotest.Tree {
			bundle := b(hash)
			if change != nil {
				change(bundle)
			}
			tree := in(dir, bundle)
			tree["a/before"] = machotest.TreeFile{Data: []byte("before " + hash)}
			tree["zz/behind"] = machotest.TreeFile{Data: []byte("behind " + hash)}
			return tree
		}
	}
	return []resealCase{
		{name: "application", build: mk("Applications/A.app", app, nil)},
		{name: "kext", build: mk("Library/A.kext", app, nil)},
		{name: "framework", build: mk("F.framework", framework, nil)},
		{name: "flat", build: mk("flat.framework", flat, nil)},
		{name: "flat, executable before the list", build: mk("G.framework", flat, func(b *machotest.SealedBundle) { b.Executable = "G" })},
		{name: "three deep", build: mk("A.app", deep, nil)},
		{name: "in a renamed directory", build: func(hash string) machotest.Tree { return mk("x/"+hash+"-x/A.app", deep, nil)(hash) }},
		{name: "dual", build: mk("A.app", app, func(b *machotest.SealedBundle) { b.Image.Directories = dual })},
		{name: "fat", build: mk("A.app", deep, func(b *machotest.SealedBundle) {
			b.Fat = true
			b.Files["Frameworks/F.framework"].(*machotest.SealedBundle).Fat = true
		})},
		{name: "files only", build: mk("A.app", app, func(b *machotest.SealedBundle) { b.FilesOnly = true; delete(b.Files, "Resources/link") })},
		{name: "all digests", build: mk("A.app", app, func(b *machotest.SealedBundle) { b.Digests = []string{"hash", "hash2", "hash3", "hash4"} })},
		{name: "binary", build: mk("A.app", deep, func(b *machotest.SealedBundle) {
			b.BinaryList = true
			b.Info = string(machotest.BinaryPlist(map[string]any{"CFBundleExecutable": b.Executable, "x": strings.TrimSuffix(strings.TrimPrefix(b.Files["z"].(string), "z "), "")}))
		})},
		{name: "shared", build: mk("A.app", app, func(b *machotest.SealedBundle) { b.BinaryList = true; b.Files["Resources/a2"] = b.Files["Resources/a"] })},
		{name: "as files", build: mk("A.app", deep, func(b *machotest.SealedBundle) { b.AsFiles = true })},
		{name: "flat in flat as files", build: func(hash string) machotest.Tree {
			outer := flat(hash)
			outer.AsFiles = true
			outer.Files["Resources/Inner.app"] = flat(hash)
			return in("Flat.app", outer)
		}},
		{name: "flat directly in flat as files", build: func(hash string) machotest.Tree { return in("x/Flat.app", flatInFlat(flat, hash)) }},
		{name: "flat directly in flat as files, the root", build: func(hash string) machotest.Tree {
			tree, _ := flatInFlat(flat, hash).Build()
			return tree
		}},
		{name: "a sealed executable seals the Info.plist", build: mk("x/A.app", app, func(b *machotest.SealedBundle) {
			b.AsFiles = true
			helper := b.Image
			b.Info = strings.Replace(b.Info, "<dict>", "<dict><key>CFBundleExecutable</key><string>App</string>", 1)
			helper.External = map[int][]byte{1: []byte(b.Info)}
			b.Files["MacOS/helper"] = helper
		})},
		{name: "another Info.plist", build: mk("A.app", app, func(b *machotest.SealedBundle) { b.Files["Resources/Info.plist"] = "other " + b.Info })},
		{name: "another Info.plist, framework", build: mk("F.framework", framework, func(b *machotest.SealedBundle) { b.Files["Info.plist"] = "other " + b.Info })},
		{name: "root", build: func(hash string) machotest.Tree {
			tree, _ := flatNamed(flat(hash), "G").Build()
			return tree
		}},
	}
}

// flatInFlat is a flat bundle directly in another one, which seals its files.
func flatInFlat(flat func(string) *machotest.SealedBundle, hash string) *machotest.SealedBundle {
	outer := flatNamed(flat(hash), "G")
	outer.AsFiles = true
	outer.Files["Inner.bundle"] = flatNamed(flat(hash), "Inner")
	return outer
}

func flatNamed(b *machotest.SealedBundle, name string) *machotest.SealedBundle {
	b.Executable = name
	return b
}

// run filters an archive and returns the output and the invalid slices.
func runFilter(t *testing.T, c filter.Config, archive []byte, how string) (out []byte, invalid []string, res filter.Result) {
	t.Helper()
	var b bytes.Buffer
	c.Observer.Invalid = func(s filter.Signature) { invalid = append(invalid, s.Path.String()+": "+s.Reason) }
	files := &spillFiles{}
	c.Spill.Memory, c.Spill.Open = 1<<20, files.new
	if how == "little memory" {
		c.Spill.Memory = 1
	}
	var err error
	switch how {
	case "file":
		res, err = c.RunAt(&b, bytes.NewReader(archive), int64(len(archive)), nil)
	default:
		res, err = c.Run(nar.NewWriter(&b), nar.NewReader(bytes.NewReader(archive)))
	}
	if err != nil {
		t.Fatal(err)
	}
	if files.open > 0 {
		t.Errorf("%s: %d spill files are open", how, files.open)
	}
	return b.Bytes(), invalid, res
}

// A rewrite of a sealed bundle equals the bundle that is made with the new hash, both ways, however it is read. The
// verification of the output finds nothing.
func TestReseal(t *testing.T) {
	low, high := hashOf('1'), hashOf('z')
	for _, test := range resealCases() {
		t.Run(test.name, func(t *testing.T) {
			a, b := narOf(test.build(low)), narOf(test.build(high))
			if got := verifyBundles(t, a); got != "" {
				t.Fatalf("the bundle as it is made: %s", got)
			}
			for _, way := range []struct {
				from, to       string
				archive, want  []byte
				streamIsSorted bool
			}{{low, high, a, b, true}, {high, low, b, a, false}} {
				rule, err := rules.Parse(way.from + "=" + way.to)
				if err != nil {
					t.Fatal(err)
				}
				c := filter.Config{Rules: compile(t, rule)}
				hows := []string{"file"}
				if way.streamIsSorted {
					hows = append(hows, "stream", "little memory")
				}
				for _, how := range hows {
					got, invalid, res := runFilter(t, c, way.archive, how)
					if len(invalid) > 0 || res.Repaired == 0 {
						t.Errorf("%s: invalid: %v, %d repaired", how, invalid, res.Repaired)
					}
					if !bytes.Equal(got, way.want) {
						t.Errorf("%s: %s: the output is not the bundle with the other hash: differs at %d of %d, %d; %s", way.from, how, firstDifference(got, way.want), len(got), len(way.want), verifyBundles(t, got))
					}
				}
				// Somebody else replaced the hash and repaired nothing: a repair does the rest.
				broken := bytes.ReplaceAll(way.archive, []byte(way.from), []byte(way.to))
				if bytes.Equal(broken, way.want) || !way.streamIsSorted {
					continue
				}
				c = filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairAll}}
				sorted := func() []byte { // entries by their new names
					c := filter.Config{Rules: compile(t, rule), Signatures: filter.SignatureOptions{Repair: filter.RepairNone}}
					got, _, _ := runFilter(t, c, way.archive, "file")
					return got
				}()
				got, invalid, _ := runFilter(t, c, sorted, "stream")
				if len(invalid) > 0 || !bytes.Equal(got, way.want) {
					t.Errorf("repair: invalid: %v, differs at %d", invalid, firstDifference(got, way.want))
				}
			}
		})
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// verifyBundles returns what a verification finds.
func verifyBundles(t *testing.T, archive []byte) string {
	t.Helper()
	var all []string
	c := filter.Config{
		Signatures: filter.SignatureOptions{Verify: true, Repair: filter.RepairNone},
		Observer: filter.Observer{Signature: func(s filter.Signature) {
			if s.Status != macho.StatusValid {
				all = append(all, fmt.Sprintf("%s: %s %s %v", s.Path, s.Status, s.Reason, s.Bundle))
			}
		}},
	}
	if _, err := c.Run(nil, nar.NewReader(bytes.NewReader(archive))); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return strings.Join(all, "; ")
}
