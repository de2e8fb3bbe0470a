package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
)

// sealedApp returns an application that seals files.
func sealedApp(files map[string]any, change func(*machotest.SealedBundle)) machotest.Tree {
	b := &machotest.SealedBundle{Form: "contents", Executable: "App", Info: "info", Files: files}
	if change != nil {
		change(b)
	}
	return in("A.app", b)
}

// certificate makes an image one that is signed by a certificate.
func certificate(im *machotest.Image) {
	if im.Directories == nil {
		im.Directories = []machotest.Directory{{PageShift: 12}}
	}
	im.Blobs = append(im.Blobs, machotest.Blob{Slot: 0x10000, Magic: machotest.CMS, Data: bytes.Repeat([]byte{1}, 100)})
}

// What is not repaired is reported, and the bytes are those of a rewrite that repairs nothing, except for what is.
func TestResealLeaves(t *testing.T) {
	hash, other := hashOf('1'), hashOf('z')
	file := func(tree machotest.Tree, path, data string) machotest.Tree {
		if path != "x" {
			path = "A.app/Contents/" + path
		}
		tree[path] = machotest.TreeFile{Data: []byte(data)}
		return tree
	}
	both := map[string]any{"Resources/a": "a " + hash, "Resources/b": "b"}
	for _, test := range []struct {
		name    string
		tree    machotest.Tree
		all     bool
		invalid string // what is reported
		same    bool   // only the hash is replaced
		left    string // what a verification of the output says
	}{
		{name: "nothing of the bundle changed", tree: file(sealedApp(map[string]any{"Resources/b": "b"}, nil), "x", hash), same: true},
		{name: "it was damaged, and nothing of it changed", tree: file(sealedApp(map[string]any{"Resources/b": "b"}, nil), "Resources/b", "B"), same: true, left: "Resources/b changed"},
		{name: "another file was damaged before", tree: file(sealedApp(both, nil), "Resources/b", "B"), invalid: "Resources/b: changed", left: "[{Resources/b changed}]"},
		{name: "the same, and all is repaired", tree: file(sealedApp(map[string]any{"Resources/b": "b"}, nil), "Resources/b", "B"), all: true},
		{name: "a file was added", tree: file(sealedApp(both, nil), "added", "x"), invalid: "added: added", left: "[{added added}]"},
		{name: "the Info.plist was damaged before", tree: file(sealedApp(both, nil), "Info.plist", "INFO"), invalid: "Info.plist is not", left: "[{Info.plist changed}]"},
		{name: "signed by a certificate", tree: sealedApp(both, func(b *machotest.SealedBundle) { certificate(&b.Image) }),
			invalid: "Resources/a: changed; not sealed again: its executable is signed by a certificate", same: true, left: "Resources/a changed"},
		{name: "the same, and all is repaired", tree: file(sealedApp(map[string]any{"Resources/b": "b"}, func(b *machotest.SealedBundle) { certificate(&b.Image) }), "Resources/b", "B"),
			all: true, invalid: "not sealed again: its executable is signed by a certificate", same: true, left: "Resources/b changed"},
		{name: "the list cannot be read", tree: file(sealedApp(both, nil), "_CodeSignature/CodeResources", hash), invalid: "not checked", same: true, left: "not checked"},
		{name: "one value for two files", tree: file(sealedApp(map[string]any{"Resources/a": "b", "Resources/b": "b"}, func(b *machotest.SealedBundle) { b.BinaryList = true }), "Resources/a", hash),
			invalid: "cannot be changed: the binary property list uses one value", same: true, left: "Resources/a changed"},
		{name: "two executables seal the list", tree: func() machotest.Tree {
			tree := sealedApp(both, nil)
			tree["A.app/Contents/MacOS/B"] = tree["A.app/Contents/MacOS/App"]
			return tree
		}(), invalid: "several executables", same: true, left: "Resources/a changed"},
	} {
		archive := narOf(test.tree)
		rule, err := rules.Parse(hash + "=" + other)
		if err != nil {
			t.Fatal(err)
		}
		c := filter.Config{Rules: compile(t, rule)}
		want := bytes.ReplaceAll(archive, []byte(hash), []byte(other))
		if test.all {
			c, want = filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairAll}}, archive
		}
		for _, how := range []string{"stream", "file"} {
			got, invalid, _ := runFilter(t, c, archive, how)
			if text := strings.Join(invalid, "; "); (text != "") != (test.invalid != "") || !strings.Contains(text, test.invalid) {
				t.Errorf("%s, %s: reported %q, want %q", test.name, how, text, test.invalid)
			}
			if bytes.Equal(got, want) != test.same {
				t.Errorf("%s, %s: same bytes: %v", test.name, how, !test.same)
			}
			if found := verifyBundles(t, got); (found != "") != (test.left != "") || !strings.Contains(found, test.left) {
				t.Errorf("%s, %s: the output: %q, want %q", test.name, how, found, test.left)
			}
		}
	}
}

// A bundle past the bounds is reported, and never passes as valid, however it changed.
func TestResealBounds(t *testing.T) {
	hash, other := hashOf('1'), hashOf('z')
	many := map[string]any{}
	for i := range 55_000 {
		many[fmt.Sprint("Resources/f", i)] = ""
	}
	many["z"] = hash
	deep := map[string]any{strings.Repeat("d/", 70) + "x": hash, "Resources/b": "b"}
	for name, files := range map[string]map[string]any{"many files": many, "deep files": deep} {
		archive := narOf(sealedApp(files, nil))
		rule, err := rules.Parse(hash + "=" + other)
		if err != nil {
			t.Fatal(err)
		}
		got, invalid, _ := runFilter(t, filter.Config{Rules: compile(t, rule)}, archive, "stream")
		if len(invalid) != 1 || !strings.Contains(invalid[0], "not checked") || !bytes.Equal(got, bytes.ReplaceAll(archive, []byte(hash), []byte(other))) {
			t.Errorf("%s: %q", name, invalid)
		}
	}
}

// With --on-cms adhoc, an application becomes ad-hoc signed where a file of it changed, and what seals it follows.
func TestResealAdhoc(t *testing.T) {
	hash, other := hashOf('1'), hashOf('z')
	framework := &machotest.SealedBundle{Form: "framework", Executable: "F", Info: "info", Files: map[string]any{"Resources/a": hash}}
	certificate(&framework.Image)
	tree := sealedApp(map[string]any{"Frameworks/F.framework": framework}, func(b *machotest.SealedBundle) { certificate(&b.Image) })
	// codesign requires an identifier and a certificate of such code.
	list := tree["A.app/Contents/_CodeSignature/CodeResources"]
	at := bytes.Index(list.Data, []byte(`cdhash H"`))
	designated := `identifier "narseal.test" and anchor apple generic and certificate leaf[subject.OU] = ABCDEFGHIJ`
	list.Data = slices.Replace(slices.Clone(list.Data), at, at+50, []byte(designated)...)
	tree["A.app/Contents/_CodeSignature/CodeResources"] = list
	rule, err := rules.Parse(hash + "=" + other)
	if err != nil {
		t.Fatal(err)
	}
	c := filter.Config{Rules: compile(t, rule), Signatures: filter.SignatureOptions{OnCMS: macho.CMSAdhoc}}
	got, invalid, res := runFilter(t, c, narOf(tree), "stream")
	if found := verifyBundles(t, got); found != "" || len(invalid) > 0 || res.Repaired != 2 {
		t.Errorf("%s; invalid %q; %d repaired", found, invalid, res.Repaired)
	}
	if !bytes.Contains(got, []byte(`cdhash H"`)) || bytes.Contains(got, []byte("anchor apple")) || len(got) != len(narOf(tree)) {
		t.Error("the requirement was not replaced")
	}
}

// An error of a spill file while a bundle waits ends the run, and the output is not a complete archive.
func TestResealErrors(t *testing.T) {
	hash, other := hashOf('1'), hashOf('z')
	archive := narOf(resealCases()[5].build(hash))
	rule, err := rules.Parse(hash + "=" + other)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for at := 1; ; at++ {
		files := &spillFiles{failAt: at}
		c := &filter.Config{Rules: compile(t, rule)}
		c.Spill.Memory, c.Spill.Open = 1, files.new
		var out bytes.Buffer
		_, err := c.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(archive)))
		if files.open > 0 {
			t.Errorf("call %d: %d files are open", at, files.open)
		}
		if files.calls < at {
			break
		}
		failed++
		if !errors.Is(err, errSpill) {
			t.Errorf("call %d: got error %v", at, err)
		}
		if out.Len() >= len(archive) {
			t.Errorf("call %d: the output is complete", at)
		}
	}
	if failed < 50 {
		t.Errorf("%d calls failed", failed)
	}
	// And of the output.
	for n := range 50 {
		c := &filter.Config{Rules: compile(t, rule)}
		w := &limitedWriter{left: len(archive) * n / 50}
		if _, err := c.Run(nar.NewWriter(w), nar.NewReader(bytes.NewReader(archive))); !errors.Is(err, errLimited) {
			t.Errorf("output of %d bytes: %v", w.left, err)
		}
	}
}

var errLimited = errors.New("the output is full")

type limitedWriter struct{ left int }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, errLimited
	}
	w.left -= len(p)
	return len(p), nil
}

// Bundles in an export stream are sealed in each archive, also if the input comes byte by byte.
func TestResealExport(t *testing.T) {
	hash, other := hashOf('1'), hashOf('z')
	stream := func(hash string) []byte {
		var b bytes.Buffer
		w := nar.NewExportWriter(&b)
		for _, k := range []int{5, 3, 0} {
			aw, err := w.Next()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := new(filter.Config).Run(aw, nar.NewReader(bytes.NewReader(narOf(resealCases()[k].build(hash))))); err != nil {
				t.Fatal(err)
			}
			if err := w.WriteTrailer(&nar.Trailer{Path: "/nix/store/" + hashOf('0') + "-x"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	rule, err := rules.Parse(hash + "=" + other)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(stream(hash)), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream(hash)))} {
		var out bytes.Buffer
		c := filter.Config{Rules: compile(t, rule)}
		if _, err := c.RunExport(nar.NewExportWriter(&out), nar.NewExportReader(r)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), stream(other)) {
			t.Errorf("%s: other bytes", name)
		}
	}
}

// A bundle in a directory without the name of one is not checked, and not passed as valid if anything changed. The root of
// a stream that turns out to be no bundle holds nothing back.
func TestResealOutOfScope(t *testing.T) {
	hash, other := hashOf('1'), hashOf('z')
	rule, err := rules.Parse(hash + "=" + other)
	if err != nil {
		t.Fatal(err)
	}
	for _, changes := range []bool{false, true} {
		b := &machotest.SealedBundle{Form: "flat", Executable: "App", Info: "info", Files: map[string]any{"x": "x"}}
		if changes {
			b.Files["x"] = "x " + hash
		}
		archive := narOf(in("share/app", b))
		got, invalid, _ := runFilter(t, filter.Config{Rules: compile(t, rule)}, archive, "stream")
		if !bytes.Equal(got, bytes.ReplaceAll(archive, []byte(hash), []byte(other))) || (len(invalid) == 1) != changes {
			t.Errorf("changes %v: reported %q", changes, invalid)
		}
	}
	tree := machotest.Tree{"bin/x": {Data: bytes.Repeat([]byte("x"), 20<<20)}, "_last": {}}
	b := &machotest.SealedBundle{Form: "flat", Executable: "App", Info: "info"}
	built, _ := b.Build()
	tree["App"] = built["App"]
	files := &spillFiles{}
	c := filter.Config{Rules: compile(t, rule)}
	c.Spill.Open = files.new
	archive := narOf(tree)
	var out bytes.Buffer
	if _, err := c.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(archive))); err != nil || !bytes.Equal(out.Bytes(), archive) || files.made > 0 {
		t.Errorf("%v, %d spill files", err, files.made)
	}
}
