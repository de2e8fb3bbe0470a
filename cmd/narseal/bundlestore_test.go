package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// TestBundlesRepairedInStore seals bundles of every form again in a store of Nix. Those that a repair cannot help stay, and
// are reported.
func TestBundlesRepairedInStore(t *testing.T) {
	s := newNixStore(t)
	var paths []closurePath
	want := map[string]string{} // what is wrong after the repair
	repairable := 0
	for i, first := range bundleForms() {
		if first.script {
			continue
		}
		for _, change := range bundleChanges(first) {
			f := bundleForms()[i]
			change.change(f)
			path := filepath.Join(s.dir, fmt.Sprintf("%032d-x", len(paths)+1))
			paths = append(paths, closurePath{path: path, tree: nartest.Dir{"Applications": f.tree}})
			if want[path] = change.problem; strings.HasSuffix(change.problem, ": changed") {
				want[path] = ""
				repairable++
			}
		}
	}
	s.nix(exportOf(paths), "nix-store", "--import")
	_, stderr := s.want(statusInvalid, "store", "repair")
	if n := strings.Count(stderr, "not sealed again"); n > 0 {
		t.Errorf("%d bundles are refused: %s", n, stderr)
	}
	out, _ := s.want(statusInvalid, "store", "verify", "--format", "json", "--all")
	for path, problem := range want {
		lines := ""
		for line := range strings.Lines(out) {
			if strings.Contains(line, path) {
				lines += line
			}
		}
		if got := bundleProblems(t, lines); got != problem {
			t.Errorf("%s: %s; want %s", path, got, problem)
		}
	}
	if repairable < 12 {
		t.Errorf("%d bundles can be repaired", repairable)
	}
	s.nix(nil, "nix-store", "--verify", "--check-contents")
}
