package bundle

import (
	"fmt"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/macho/bundle/resources"
)

// Whatever the order of entries, a Checker has charged nothing when the last bundle is complete, and never less than
// the contents that it keeps.
func TestMemoryIsGivenBackOnce(t *testing.T) {
	for _, test := range []struct {
		name  string
		paths string // those that end in a slash are directories
	}{
		{"an Info.plist of two directories", "A.app/ A.app/Resources/ A.app/Resources/Info.plist A.app/_CodeSignature/ A.app/_CodeSignature/CodeResources A.app/z"},
		{"an Info.plist in front of a bundle", "a/ a/Info.plist a/b.app/ a/b.app/x a/c.app/ a/c.app/Info.plist a/z"},
		{"lists inside each other", "A.app/ A.app/_CodeSignature/ A.app/_CodeSignature/CodeResources A.app/b/ A.app/b/_CodeSignature/ A.app/b/_CodeSignature/CodeResources A.app/b/a/ A.app/b/a/Resources/ A.app/b/a/Resources/Info.plist"},
		{"a directory MacOS in the root", "MacOS/ MacOS/_CodeSignature/ MacOS/_CodeSignature/CodeDirectory MacOS/x z"},
		{"a script", "A.app/ A.app/Contents/ A.app/Contents/Info.plist A.app/Contents/MacOS/ A.app/Contents/MacOS/A A.app/Contents/_CodeSignature/ A.app/Contents/_CodeSignature/CodeDirectory A.app/Contents/_CodeSignature/CodeResources"},
		{"files that nobody seals", "A.app/ A.app/CodeResources A.app/CodeDirectory A.app/x/ A.app/x/CodeRequirements-1 Info.plist/ Info.plist/Info.plist"},
	} {
		c := Checker{CheckResources: true}
		var scope Scope
		var digests []*FileDigest
		for path := range strings.FieldsSeq(test.paths) {
			name := strings.TrimSuffix(path, "/")
			depth := 1 + strings.Count(name, "/")
			base := name[strings.LastIndexByte(name, '/')+1:]
			c.Reach(depth)
			it := Item{Name: base, Kind: resources.Directory}
			inside := scope.Enter(depth, []byte(base), path != name)
			if path == name {
				it.Kind, it.Digest = resources.Regular, NewItemDigest(base)
				it.Digest.Write([]byte(strings.Repeat("#", 5000)))
				if IsSealedFile(base) {
					c.AddFile(depth, func() string { return "/" + name }, it.Digest)
					digests = append(digests, it.Digest)
				}
			}
			if inside {
				c.AddItem(depth, it)
			}
			kept := 0
			for _, d := range digests {
				kept += len(d.kept)
			}
			if c.memory.used < kept+c.tree.memory {
				t.Errorf("%s: %s: %d bytes are charged, %d are kept", test.name, path, c.memory.used, kept+c.tree.memory)
			}
		}
		c.Reach(0)
		if c.memory.used != 0 {
			t.Errorf("%s: %d bytes are still charged", test.name, c.memory.used)
		}
	}
}

// Reports of executables that wait are charged with their paths and CodeDirectories.
func TestWaitingMemory(t *testing.T) {
	external := []macho.SpecialSlot{{K: slotResources, HashType: macho.SHA256, Digest: make([]byte, 32)}}
	for _, test := range []struct {
		name  string
		path  string
		slice macho.Slice
		most  int
	}{
		{"short", "/A.app/Contents/MacOS/A", macho.Slice{External: external}, 1000},
		{"long paths", "/A.app/" + strings.Repeat("x", 10_000), macho.Slice{External: external}, 0},
		{"many CodeDirectories", "/A.app/A", macho.Slice{External: external, CodeDirectories: make([]macho.CodeDirectory, 1000)}, 0},
		{"long identifiers", "/A.app/A", macho.Slice{External: external, CodeDirectories: []macho.CodeDirectory{{Identifier: strings.Repeat("x", 10_000)}}}, 0},
	} {
		var c Checker
		refused := 0
		for i := range 1000 {
			s := test.slice
			s.Status = macho.StatusValid
			c.AddSlice(3, func() string { return fmt.Sprint(test.path, i) }, s, func(s macho.Slice) {
				if !s.Status.OK() {
					refused++
				}
			})
		}
		if (refused == 0) != (test.most == 1000) {
			t.Errorf("%s: %d of 1,000 do not wait", test.name, refused)
		}
		c.Reach(0)
		if c.reports != 0 {
			t.Errorf("%s: %d bytes are still charged", test.name, c.reports)
		}
	}
}

// What is kept of a list never takes more memory than the largest list, in whatever pieces it arrives.
func TestKeptMemory(t *testing.T) {
	for _, piece := range []int{1 << 10, 32 << 10, 1<<20 + 7, 7 << 20, 7<<20 + 512<<10, 8 << 20, 9 << 20} {
		d := NewItemDigest("CodeResources")
		for range 1 + 9<<20/piece {
			d.Write(make([]byte, piece))
		}
		if n := d.Memory(); n != resources.MaxSize {
			t.Errorf("in pieces of %d bytes: %d, want %d", piece, n, resources.MaxSize)
		}
	}
}
