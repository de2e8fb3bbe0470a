package bundle

import (
	"fmt"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/macho/bundle/resources"
)

// manyExecutables compares an application with n executables, which all seal a list of 1,200 missing files with names of
// this many bytes.
func manyExecutables(t *testing.T, n, name int, types func(i int) []macho.HashType) (c *Checker, got []macho.Slice) {
	t.Helper()
	var list strings.Builder
	list.WriteString("<plist><dict><key>files2</key><dict>")
	for i := range 1200 {
		fmt.Fprintf(&list, "<key>%0*d</key><dict><key>hash2</key><data>%sA=</data></dict>", name, i, strings.Repeat("A", 42))
	}
	list.WriteString("</dict><key>rules2</key><dict/></dict></plist>")
	c = &Checker{CheckResources: true}
	digest := NewItemDigest(codeResourcesName)
	digest.Write([]byte(list.String()))
	c.AddItem(1, Item{Name: "A.app", Kind: resources.Directory})
	for i := range n {
		exe := fmt.Sprintf("exe%04d", i)
		s := macho.Slice{Status: macho.StatusValid}
		for _, h := range types(i) {
			s.CodeDirectories = append(s.CodeDirectories, macho.CodeDirectory{HashType: h})
		}
		s.External = digest.slots(slotResources)[1:2]
		c.Reach(2)
		c.AddSlice(2, func() string { return "/A.app/" + exe }, s, func(s macho.Slice) { got = append(got, s) })
		c.AddItem(2, Item{Name: exe})
	}
	c.Reach(2)
	c.AddItem(2, Item{Name: "_CodeSignature", Kind: resources.Directory})
	c.Reach(3)
	c.AddFile(3, func() string { return "/A.app/" + codeResourcesPath }, digest)
	c.AddItem(3, Item{Name: codeResourcesName, Digest: digest})
	c.Reach(0)
	if len(got) != n {
		t.Fatalf("%d slices, want %d", len(got), n)
	}
	return c, got
}

// A list is compared once, however many executables seal it, and they do not all name every problem.
func TestComparedOnce(t *testing.T) {
	sha256 := func(int) []macho.HashType { return []macho.HashType{macho.SHA256} }
	one, _ := manyExecutables(t, 1, 100, sha256)
	many, got := manyExecutables(t, 100, 100, sha256)
	// Each executable is a file, and each is in the path of one.
	if want := one.cost + 99*(128+16); many.cost > want {
		t.Errorf("100 executables cost %d, want at most %d", many.cost, want)
	}
	problems := 0
	for i, s := range got {
		if s.Status != macho.StatusBundle || s.Bundle == nil {
			t.Fatalf("executable %d: %s", i, s.Status)
		}
		n := len(s.Bundle.Resources)
		if problems += n; n < 2 || i == 0 && n != resources.MaxProblems+1 {
			t.Errorf("executable %d names %d problems", i, n)
		}
	}
	if most := maxNamed + 2*len(got) + 10; problems > most {
		t.Errorf("%d problems are named, want at most %d", problems, most)
	}

	// If each needs a comparison of its own, the cost ends it.
	other := func(i int) []macho.HashType { return []macho.HashType{macho.SHA256, macho.HashType(3 + i%2)} }
	_, got = manyExecutables(t, 60, 100, other)
	if last := got[len(got)-1]; !strings.Contains(last.Reason, "too long to match") {
		t.Errorf("60 comparisons: %q", last.Reason)
	}
}

// Long paths of entries without files are named in part.
func TestNamedPaths(t *testing.T) {
	_, got := manyExecutables(t, 50, 1200, func(int) []macho.HashType { return []macho.HashType{macho.SHA256} })
	total := 0
	for _, s := range got {
		total += len(s.Reason)
		for _, r := range s.Bundle.Resources {
			if total += len(r.Path); len(r.Path) > maxNamedPath+len("…") {
				t.Fatalf("a path of %d bytes is named", len(r.Path))
			}
		}
	}
	if most := 2*maxNamedBytes + len(got)*(2*maxNamedPath+200); total > most {
		t.Errorf("%d bytes are named, want at most %d", total, most)
	}
}
