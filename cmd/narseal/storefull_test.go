package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"narseal/nar/nartest"
)

// If there is no room for the new contents of a path, it stays as it was: many small files take more than their archive,
// and in a store whose paths share files, removing the old contents frees nothing. With room, the next run repairs it.
func TestStoreFull(t *testing.T) {
	s := nixStoreIn(t, full(t, "64m"))
	many := nartest.Dir{}
	for i := range 3000 { // 12 MB on disk
		many[strconv.Itoa(i)] = nartest.File(strconv.Itoa(i))
	}
	stale, _ := rewritten(t, "lld-arm64")
	app, other := s.path("f", "app"), s.path("g", "other")
	s.nix(exportOf([]closurePath{
		{path: app, tree: nartest.Dir{"hello": nartest.Exec(stale), "many": many}},
		{path: other, tree: nartest.Dir{"many": many}},
	}), "nix-store", "--import")
	s.nix(nil, "nix-store", "--optimise")
	top := filepath.Dir(s.dir)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(top, &fs); err != nil {
		t.Fatal(err)
	}
	const free = 8 << 20
	fill := int(fs.Bavail)*int(fs.Bsize) - free
	if fill < 0 {
		t.Fatalf("%d bytes too few", -fill)
	}
	writeFile(t, top+"/fill", make([]byte, fill))
	before := files(t, app)
	if _, stderr := s.want(1, "store", "repair", "-v"); !strings.Contains(stderr, "bytes free, want ") || !strings.Contains(stderr, "No space left on device") {
		t.Errorf("%s", stderr)
	}
	if now := files(t, app); len(now) != len(before) || now[app+"/hello"] != before[app+"/hello"] {
		t.Errorf("%d files, had %d", len(now), len(before))
	}
	s.clean("without room")
	if _, stderr := s.want(1, "store", "repair"); strings.Contains(stderr, "file exists") || strings.Count(stderr, "error: ") != 1 {
		t.Errorf("again: %s", stderr)
	}
	s.clean("again")
	if err := os.Remove(top + "/fill"); err != nil {
		t.Fatal(err)
	}
	if out, stderr := s.want(0, "store", "repair"); out != app+"\n" {
		t.Errorf("with room: %s%s", out, stderr)
	}
	s.clean("with room")
	s.want(0, "store", "verify")
}
