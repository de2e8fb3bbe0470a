package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// TestLargeBundleInLittleMemory seals a large application again on a pipe: its size in MiB is NARSEAL_BUNDLE_SIZE, with
// 20 files to a MiB. Each file has the hash.
func TestLargeBundleInLittleMemory(t *testing.T) {
	size := 40
	if s := os.Getenv("NARSEAL_BUNDLE_SIZE"); s != "" {
		var err error
		if size, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	tree := func(hash string) machotest.Tree {
		data := strings.Repeat("no base32: \x00\xff ", 50<<10/14) + hash
		b := &machotest.SealedBundle{Form: "contents", Executable: "App", Info: hash, Files: map[string]any{}}
		b.Image = machotest.Image{CodeSize: 1 << 20, Text: []byte(hash), Directories: []machotest.Directory{{PageShift: 12}}}
		for i := range size * 20 {
			b.Files[fmt.Sprintf("Resources/%03d/%05d", i%100, i)] = data
		}
		files, _ := b.Build()
		return files
	}
	from, to := tree(hashA), tree(hashB)
	for _, how := range []string{"a hash in each file", "no hash"} {
		rule, want := hashA+"="+hashB, to
		if how == "no hash" {
			rule, want = sampleRule, from
		}
		start := time.Now()
		// What is kept of 20,000 files and their list is some of the budget of bundles.
		limit := int64(maxResident)
		if size > 100 {
			limit += 48 << 20
		}
		status, stderr := boundedBy(t, limit, treeReader(from), treeReader(want), "rewrite", "-q", "-m", rule, "--hold-memory", "9MiB")
		t.Logf("%s: %d MiB in %d files, %.2f s", how, size, len(from), time.Since(start).Seconds())
		if status != 0 || stderr != "" {
			t.Errorf("%s: status %d: %s", how, status, stderr)
		}
	}
}

// treeReader is the archive of a bundle A.app, made as it is read.
func treeReader(tree machotest.Tree) io.Reader {
	var parts []io.Reader
	text := func(strings ...string) { parts = append(parts, bytes.NewReader(nartest.Strings(strings...))) }
	text("nix-archive-1", "(", "type", "directory", "entry", "(", "name", "A.app", "node", "(", "type", "directory")
	var open []string
	// By names, as Nix sorts them: a slash comes before everything.
	paths := slices.SortedFunc(maps.Keys(tree), func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	for _, path := range paths {
		names := strings.Split(path, "/")
		same := 0
		for same < len(open) && same < len(names)-1 && open[same] == names[same] {
			same++
		}
		for range open[same:] {
			text(")", ")")
		}
		open = names[:len(names)-1]
		for _, name := range open[same:] {
			text("entry", "(", "name", name, "node", "(", "type", "directory")
		}
		f := tree[path]
		text("entry", "(", "name", names[len(names)-1], "node", "(", "type", "regular")
		if f.Executable {
			text("executable", "")
		}
		text("contents")
		parts = append(parts, bytes.NewReader(binary.LittleEndian.AppendUint64(nil, uint64(len(f.Data)))), bytes.NewReader(f.Data),
			bytes.NewReader(make([]byte, -len(f.Data)&7)))
		text(")", ")")
	}
	for range open {
		text(")", ")")
	}
	text(")", ")", ")")
	return io.MultiReader(parts...)
}
