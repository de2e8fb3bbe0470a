package filter_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

// sealedImage returns an image that seals these files, with CodeDirectories of two hash types, and the hash of the one
// that counts.
func sealedImage(infoPlist, list string) (image nartest.Exec, cdhash string) {
	im := machotest.Image{Directories: []machotest.Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12}}}
	if list != "" {
		im.External = map[int][]byte{1: []byte(infoPlist), 3: []byte(list)}
	}
	data, l := im.Build()
	at := l.Signature
	for i := range int64(binary.BigEndian.Uint32(data[l.Signature+8:])) {
		if entry := data[l.Signature+12+8*i:]; binary.BigEndian.Uint32(entry) == 0x1000 {
			at += int64(binary.BigEndian.Uint32(entry[4:]))
		}
	}
	sum := sha256.Sum256(data[at : at+int64(binary.BigEndian.Uint32(data[at+4:]))])
	return nartest.Exec(data), fmt.Sprintf("%x", sum[:20])
}

// listOf returns a CodeResources for files, by path: digests of contents, or a requirement.
func listOf(files map[string]string) string {
	s := "<plist><dict><key>files2</key><dict>"
	for _, path := range slices.Sorted(maps.Keys(files)) {
		v := files[path]
		if hash, ok := strings.CutPrefix(v, "code "); ok {
			s += "<key>" + path + `</key><dict><key>requirement</key><string>cdhash H"` + hash + `"</string></dict>`
			continue
		}
		one, two := sha1.Sum([]byte(v)), sha256.Sum256([]byte(v))
		s += "<key>" + path + "</key><dict><key>hash</key><data>" + base64.StdEncoding.EncodeToString(one[:]) +
			"</data><key>hash2</key><data>" + base64.StdEncoding.EncodeToString(two[:]) + "</data></dict>"
	}
	return s + `</dict><key>rules2</key><dict><key>^.*</key><true/><key>^Info\.plist$</key><dict><key>omit</key><true/><key>weight</key><integer>20</integer></dict>` +
		`<key>^(Frameworks|PlugIns)/</key><dict><key>nested</key><true/><key>weight</key><integer>10</integer></dict></dict></dict></plist>`
}

// nestedBundles returns an application with a framework with an application, and a directory that each holds.
func nestedBundles() (tree nartest.Dir, app, framework, inner nartest.Dir) {
	list := listOf(map[string]string{"Resources/a": "inner a", "z": "inner z"})
	image, hash := sealedImage("inner", list)
	inner = nartest.Dir{
		"Info.plist": nartest.File("inner"), "MacOS": nartest.Dir{"Inner": image}, "Resources": nartest.Dir{"a": nartest.File("inner a")},
		"_CodeSignature": nartest.Dir{"CodeResources": nartest.File(list)}, "z": nartest.File("inner z"),
	}
	list = listOf(map[string]string{"PlugIns/Inner.app": "code " + hash, "Resources/Info.plist": "framework", "lower": "framework lower"})
	image, hash = sealedImage("framework", list)
	framework = nartest.Dir{
		"F": image, "PlugIns": nartest.Dir{"Inner.app": nartest.Dir{"Contents": inner}}, "Resources": nartest.Dir{"Info.plist": nartest.File("framework")},
		"_CodeSignature": nartest.Dir{"CodeResources": nartest.File(list)}, "lower": nartest.File("framework lower"),
	}
	loose, looseHash := sealedImage("", "")
	list = listOf(map[string]string{"Frameworks/F.framework": "code " + hash, "Frameworks/l.dylib": "code " + looseHash, "Resources/a": "app a"})
	image, _ = sealedImage("app", list)
	app = nartest.Dir{
		"Frameworks": nartest.Dir{
			"F.framework": nartest.Dir{"F": nartest.Symlink("Versions/Current/F"), "Versions": nartest.Dir{"A": framework, "Current": nartest.Symlink("A")}},
			"l.dylib":     loose,
		},
		"Info.plist": nartest.File("app"), "MacOS": nartest.Dir{"App": image}, "Resources": nartest.Dir{"a": nartest.File("app a")},
		"_CodeSignature": nartest.Dir{"CodeResources": nartest.File(list)},
	}
	return nartest.Dir{"App.app": nartest.Dir{"Contents": app}}, app, framework, inner
}

// TestSealedResources changes a file at a time in bundles inside each other: the bundle that seals it names it.
func TestSealedResources(t *testing.T) {
	const (
		atApp       = "/App.app/Contents/MacOS/App"
		atFramework = "/App.app/Contents/Frameworks/F.framework/Versions/A/F"
		atInner     = "/App.app/Contents/Frameworks/F.framework/Versions/A/PlugIns/Inner.app/Contents/MacOS/Inner"
	)
	other, _ := sealedImage("app", "another list")
	for _, test := range []struct {
		name   string
		change func(app, framework, inner nartest.Dir)
		want   string
	}{
		{"nothing", func(_, _, _ nartest.Dir) {}, ""},
		{"a resource", func(app, _, _ nartest.Dir) { app["Resources"].(nartest.Dir)["a"] = nartest.File("app A") }, atApp + " Resources/a: changed"},
		{"a resource is gone", func(app, _, _ nartest.Dir) { delete(app["Resources"].(nartest.Dir), "a") }, atApp + " Resources/a: missing"},
		{"an added file", func(app, _, _ nartest.Dir) { app["x"] = nartest.File("") }, atApp + " x: added"},
		{"Info.plist", func(app, _, _ nartest.Dir) { app["Info.plist"] = nartest.File("App") }, atApp + " Info.plist: changed"},
		{"the list is gone", func(app, _, _ nartest.Dir) { delete(app, "_CodeSignature") }, atApp + " _CodeSignature/CodeResources: missing"},
		{"the list", func(app, _, _ nartest.Dir) {
			app["_CodeSignature"] = nartest.Dir{"CodeResources": nartest.File("garbage")}
		}, atApp + " _CodeSignature/CodeResources: changed; " + atApp + " _CodeSignature/CodeResources: not checked: offset 0: text \"garbage\" between elements"},
		{"a loose library", func(app, _, _ nartest.Dir) { app["Frameworks"].(nartest.Dir)["l.dylib"] = other }, atApp + " Frameworks/l.dylib: nested code changed"},
		{"behind the list", func(_, framework, _ nartest.Dir) { framework["lower"] = nartest.File("") }, atFramework + " lower: changed"},
		{"the innermost", func(_, _, inner nartest.Dir) { inner["z"] = nartest.File("") }, atInner + " z: changed"},
		{"its executable", func(_, _, inner nartest.Dir) { inner["MacOS"] = nartest.Dir{"Inner": other} },
			atInner + " Info.plist: changed; " + atInner + " _CodeSignature/CodeResources: changed; " + atFramework + " PlugIns/Inner.app: nested code changed"},
		{"its executable is gone", func(_, _, inner nartest.Dir) { delete(inner, "MacOS") }, atFramework + " PlugIns/Inner.app: nested code is not signed"},
	} {
		tree, app, framework, inner := nestedBundles()
		test.change(app, framework, inner)
		archive := nartest.Tree(tree)
		for _, write := range []bool{false, true} {
			var got []string
			c := &filter.Config{
				Signatures: filter.SignatureOptions{Verify: true, Repair: filter.RepairNone},
				Observer: filter.Observer{Signature: func(s filter.Signature) {
					if (s.Bundle != nil) != (s.Status == macho.StatusBundle) {
						t.Errorf("%s: %s is %s", test.name, s.Path, s.Status)
					}
					if s.Bundle != nil {
						for _, r := range s.Bundle.Resources {
							got = append(got, s.Path.String()+" "+r.Path+": "+r.Problem)
						}
					}
				}},
			}
			var w *nar.Writer
			var out bytes.Buffer
			if write {
				w = nar.NewWriter(&out)
			}
			if _, err := c.Run(w, nar.NewReader(bytes.NewReader(archive))); err != nil {
				t.Fatal(err)
			}
			want := strings.Split(test.want, "; ")
			if test.want == "" {
				want = nil
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant\n%s", test.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if write && !bytes.Equal(out.Bytes(), archive) {
				t.Errorf("%s: the archive changed", test.name)
			}
		}
	}
}

// A rewrite that changes a sealed file seals the bundle again, though nothing of the executable changed. With a file that
// was added, it reports the bundle.
func TestRewriteOfSealedResource(t *testing.T) {
	tree, app, _, _ := nestedBundles()
	rule, err := rules.Parse(oldHash + "=" + newHash)
	if err != nil {
		t.Fatal(err)
	}
	app["Resources"].(nartest.Dir)["a"] = nartest.File(oldHash)
	list := listOf(map[string]string{"Resources/a": oldHash})
	image, _ := sealedImage("app", list)
	app["MacOS"], app["_CodeSignature"] = nartest.Dir{"App": image}, nartest.Dir{"CodeResources": nartest.File(list)}
	delete(app, "Frameworks")
	for _, added := range []bool{false, true} {
		want := "0 [/App.app/Contents/MacOS/App repaired <nil>]"
		if added {
			app["x"] = nartest.File("")
			want = "1 [/App.app/Contents/MacOS/App bundle [{x added}]]"
		}
		var got []string
		see := func(s filter.Signature) {
			if s.Bundle == nil {
				got = append(got, fmt.Sprint(s.Path.String(), " ", s.Status, " <nil>"))
			} else {
				got = append(got, fmt.Sprint(s.Path.String(), " ", s.Status, " ", s.Bundle.Resources))
			}
		}
		c := &filter.Config{Rules: compile(t, rule), Observer: filter.Observer{Invalid: see, Signature: see}}
		var out bytes.Buffer
		res, err := c.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(nartest.Tree(tree))))
		if err != nil || fmt.Sprint(res.Invalid, " ", got) != want {
			t.Errorf("%v, %d invalid, %v; want %s", err, res.Invalid, got, want)
		}
		if found := verifyBundles(t, out.Bytes()); (found != "") != added || strings.Contains(found, "changed") {
			t.Errorf("the output: %s", found)
		}
	}
}
