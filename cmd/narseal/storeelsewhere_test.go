package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A repair that a run with another state directory has not completed is known to all commands, which say what finishes it.
func TestStoreStateElsewhere(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	path, state, third := s.get("PATH"), t.TempDir(), t.TempDir()
	s.set("PATH", unableNix(t, s.tool("nix-store"), "--repair-path|--restore")+":"+path)
	s.want(1, "store", "repair", "--state", state, tool)
	s.set("PATH", path)
	if err := os.Remove(tool); err != nil { // as if Nix had been killed while it replaced the path
		t.Fatal(err)
	}
	want := tool + ": its repair is not complete; unless another run is working on it, narseal store repair --state " + state
	for _, args := range [][]string{{"verify"}, {"repair", "--dry-run"}, {"repair"}, {"repair", "--state", third}} {
		if _, stderr := s.want(1, append([]string{"store"}, args...)...); !strings.Contains(stderr, want) {
			t.Errorf("%q: %s", args, stderr)
		}
	}
	if out, stderr := s.want(0, "store", "repair", "--state", state); out != tool+"\n" {
		t.Errorf("%s%s", out, stderr)
	}
	s.want(0, "store", "verify")
	if out, stderr := s.want(0, "store", "repair"); out != "" {
		t.Errorf("the other path, %s: %s%s", app, out, stderr)
	}
	s.clean("after")
	if left, _ := filepath.Glob(s.get("NIX_STATE_DIR") + "/narseal.states*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	// The other way round: the default directory, and a run with another one.
	s = newNixStore(t)
	_, _, _, tool = s.fill()
	s.set("PATH", unableNix(t, s.tool("nix-store"), "--repair-path|--restore")+":"+path)
	s.want(1, "store", "repair", tool)
	if _, stderr := s.want(1, "store", "repair", "--state", state, tool); !strings.Contains(stderr, ", narseal store repair finishes it") {
		t.Errorf("%s", stderr)
	}
}

// The directory beside Nix's database is found whatever its name is.
func TestStoreStateMounted(t *testing.T) {
	s := newNixStore(t)
	s.fill()
	mounted := t.TempDir()
	if out, err := exec.Command("mount", "--bind", mounted, mounted).CombinedOutput(); err != nil {
		t.Skipf("needs to mount: %v: %s", err, out)
	}
	if err := exec.Command("umount", mounted).Run(); err != nil {
		t.Fatal(err)
	}
	path, tool := s.get("PATH"), s.path("g", "tool")
	s.set("PATH", unableNix(t, s.tool("nix-store"), "--repair-path|--restore")+":"+path)
	s.want(1, "store", "repair", tool)
	s.set("PATH", path)
	if out, err := exec.Command("mount", "--bind", s.get("NIX_STATE_DIR"), mounted).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", mounted).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	}()
	s.set("NIX_STATE_DIR", mounted)
	if _, stderr := s.want(1, "store", "verify"); !strings.Contains(stderr, tool+": its repair is not complete") {
		t.Errorf("%s", stderr)
	}
	if out, stderr := s.want(0, "store", "repair", tool); out != tool+"\n" {
		t.Errorf("%s%s", out, stderr)
	}
	s.clean("after")
}
