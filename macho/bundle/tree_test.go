package bundle_test

import (
	"fmt"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/macho/bundle/resources"
	"narseal/macho/machotest"
)

func TestScope(t *testing.T) {
	type entry struct {
		depth int
		name  string
		dir   bool
		want  bool
	}
	var s bundle.Scope
	for i, e := range []entry{
		{0, "", true, false}, {1, "A.app", false, false}, {1, "B.app", true, true}, {2, "x", false, true}, {2, "y.framework", true, true},
		{3, "z", false, true}, {2, "zz", false, true}, {1, "C", true, false}, {2, "Contents", true, true}, {3, "x", false, true},
		{2, "Docs", true, false}, {2, "Versions", true, true}, {1, "hello-1.2", true, false}, {1, "app", true, false},
		{1, "X.xcframework", true, true}, {2, "_CodeSignature", true, true},
	} {
		if got := s.Enter(e.depth, []byte(e.name), e.dir); got != e.want {
			t.Errorf("entry %d, %q: %v", i, e.name, got)
		}
	}
}

// The root of a stream is taken for a bundle until a name shows that it is none.
func TestScopeOfRoot(t *testing.T) {
	for _, test := range []struct {
		names string // in order; those in a directory have a slash, directories end in one
		in    string // those that are found
	}{
		{"bin/ bin/x lib/", ""},
		{"A Base.lproj/ Base.lproj/x Info.plist _CodeSignature/ _CodeSignature/CodeResources z", "A Base.lproj/ Base.lproj/x Info.plist _CodeSignature/ _CodeSignature/CodeResources z"},
		{"F Headers/ Resources/ Resources/Info.plist Versions z", "F Headers/ Resources/ Resources/Info.plist Versions z"},
		{"F Headers/ Headers/Info.plist Resources/ Resources/x a", "F Headers/ Headers/Info.plist Resources/ Resources/x"},
		{"Info.plist/ z", "Info.plist/"},
		{"Lib Resources SDL Versions/ Versions/x a", "Lib Resources SDL Versions/ Versions/x a"},
		{"Lib Versions/ Versions/x a b/", "Lib Versions/ Versions/x a b/"},
		{"0 Info.plist", ""},
		{"Applications/ Applications/A.app/ Info.plist", "Applications/A.app/"},
		{"Contents/ share/ share/A.app/", "Contents/ share/A.app/"},
		{"Contents/ Contents/x WrappedBundle Wrapper/ Wrapper/E.app/", "Contents/ Contents/x WrappedBundle Wrapper/ Wrapper/E.app/"},
		{"Contents/ Contents/x Support WrappedBundle", "Contents/ Contents/x"},
	} {
		var s bundle.Scope
		s.EnterRoot()
		var in []string
		left := 0
		for name := range strings.FieldsSeq(test.names) {
			path := strings.TrimSuffix(name, "/")
			if s.Enter(1+strings.Count(path, "/"), []byte(path[strings.LastIndex(path, "/")+1:]), path != name) {
				in = append(in, name)
			}
			if s.Left() {
				left++
			}
		}
		if got := strings.Join(in, " "); got != test.in || left != 1 && got != test.names {
			t.Errorf("%s: found %s, left %d times", test.names, got, left)
		}
	}
}

// A bundle deeper than any is looked for is not valid either.
func TestTooDeep(t *testing.T) {
	c := bundle.Checker{CheckResources: true}
	c.AddItem(1, bundle.Item{Name: "A.app", Kind: resources.Directory})
	var got macho.Slice
	path := "/A.app" + strings.Repeat("/d", 70) + "/A"
	c.AddSlice(72, text(path), sealedSlice(t, map[int][]byte{3: nil}), func(s macho.Slice) { got = s })
	if got.Status != macho.StatusBundle {
		t.Errorf("status %s", got.Status)
	}
}

// A bundle with more files than the budget has room for, with deeper ones, or with rules that take long to match, is never
// valid.
func TestBundleBudget(t *testing.T) {
	for _, test := range []struct {
		name  string
		files int
		deep  int
		file  string // what names of files begin with
		list  string
		want  string
	}{
		{"few files", 100, 0, "z", machotest.CodeResources, ""},
		{"many files", 32 << 20 / 300, 0, "z", machotest.CodeResources, "too many files"},
		{"deep files", 10, 100, "z", machotest.CodeResources, "too deep"},
		{"large rules", 500, 0, strings.Repeat("z", 200), rules("(.?){250}(.?){250}y$", "(.?){250}(.?){251}y$"), "too long to match"},
		{"few files and large rules", 5, 0, strings.Repeat("z", 200), rules("(.?){250}(.?){250}y$", "(.?){250}(.?){251}y$"), ""},
	} {
		c := bundle.Checker{CheckResources: true}
		var got []macho.Slice
		add := func(depth int, it bundle.Item) {
			c.Reach(depth)
			c.AddItem(depth, it)
		}
		add(1, bundle.Item{Name: "A.app", Kind: resources.Directory})
		c.Reach(2)
		c.AddSlice(2, text("/A.app/A"), sealedSlice(t, map[int][]byte{3: []byte(test.list)}), func(s macho.Slice) { got = append(got, s) })
		add(2, bundle.Item{Name: "A"})
		add(2, bundle.Item{Name: "_CodeSignature", Kind: resources.Directory})
		d := bundle.NewItemDigest("CodeResources")
		d.Write([]byte(test.list))
		c.AddFile(3, text("/A.app/_CodeSignature/CodeResources"), d)
		add(3, bundle.Item{Name: "CodeResources", Digest: d})
		for i := range test.files {
			add(2, bundle.Item{Name: fmt.Sprint(test.file, i)})
		}
		for i := range test.deep {
			add(3+i, bundle.Item{Name: "d", Kind: resources.Directory})
		}
		c.Reach(0)
		if len(got) != 1 || got[0].Status.OK() != (test.want == "") || !strings.Contains(got[0].Reason, test.want) {
			t.Errorf("%s: %d slices, %s %q", test.name, len(got), got[0].Status, got[0].Reason)
		}
	}
}

// rules returns a list without files that has these expressions.
func rules(patterns ...string) string {
	list := "<plist><dict><key>files</key><dict/><key>rules</key><dict>"
	for _, p := range patterns {
		list += "<key>" + p + "</key><true/>"
	}
	return list + "</dict></dict></plist>"
}
