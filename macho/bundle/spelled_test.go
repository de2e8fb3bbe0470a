package bundle

import (
	"strings"
	"testing"

	"narseal/macho/bundle/resources"
	"narseal/macho/internal/spelling"
)

// Names are normalized once, when a file is added. Where hashes differ, names are not compared letter by letter, however
// often macOS would look for one of them.
func TestNamesAreHashed(t *testing.T) {
	var c Checker
	c.AddItem(1, Item{Name: "A.app", Kind: resources.Directory})
	long := strings.Repeat("\u1ec7", 80)
	for _, name := range []string{"App", "APP", long + "a", strings.ToUpper(long) + "B"} {
		c.AddItem(2, Item{Name: name})
	}
	files := c.tree.files
	for i := range files {
		if files[i].Name != spelling.HashOf(files[i].Path) {
			t.Errorf("%q has no hash", files[i].Path)
		}
	}
	if n := alike(files, 0, "app"); n != 2 {
		t.Errorf("%d files are like app, want 2", n)
	}
	if f := spelled(files, 0, long+"b"); f != &files[3] {
		t.Errorf("found %v", f)
	}
	files[3].Name++ // as if it were another name
	if f := spelled(files, 0, long+"b"); f != nil || alike(files, 0, long+"b") != 0 {
		t.Errorf("found %v, whose hash differs", f)
	}
	files[3].Name = 0 // not known
	if f := spelled(files, 0, long+"b"); f != &files[3] {
		t.Errorf("found %v", f)
	}
	for range 10 {
		c.AddItem(2, Item{Name: "aPp"})
	}
	if n := alike(c.tree.files, 0, "app"); n != 2 {
		t.Errorf("%d files are like app, want 2 where there are more", n)
	}
}
