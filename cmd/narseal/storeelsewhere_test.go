package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"narseal/nar/nartest"
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

// killed runs store repair in a shell, after some commands, and kills it when it has replaced a path and Nix is about to register
// the new hash.
func (s *nixStore) killed(commands string, args ...string) {
	s.t.Helper()
	path := s.get("PATH")
	s.set("PATH", s.between("--repair-path|--register-validity|--load-db", "case $1 in --repair-path) ;; *) kill -9 $PPID ;; esac; exit 1")+":"+path)
	defer s.set("PATH", path)
	cmd := exec.Command("sh", append([]string{"-c", commands + `; exec narseal store repair "$@"`, "sh"}, args...)...)
	cmd.Env = s.env
	if out, err := cmd.CombinedOutput(); err == nil || err.Error() != "signal: killed" {
		s.t.Fatalf("%v: %s", err, out)
	}
}

// What a killed run has not completed is known even if its state directory is gone, or another one has its name, as where the
// file system of it is not mounted.
func TestStoreStateLost(t *testing.T) {
	s := newNixStore(t)
	_, _, _, tool := s.fill()
	top := t.TempDir()
	state := top + "/mounted/state"
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(top+from, top+to); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(top+"/mounted", 0o755); err != nil {
		t.Fatal(err)
	}
	s.killed(":", "--state", state, tool)
	if _, err := s.tryNix(nil, "nix-store", "--verify-path", tool); err == nil {
		t.Fatal("Nix's database has the hash of the new contents")
	}
	if _, stderr := s.want(1, "store", "verify"); !strings.Contains(stderr, tool+": its repair is not complete; unless") {
		t.Errorf("%s", stderr)
	}
	before := s.rows()[tool]
	rename("/mounted", "/elsewhere")
	for _, args := range [][]string{{"verify"}, {"verify", tool}, {"repair", "--dry-run"}, {"repair"}, {"repair", "--state", t.TempDir()}, {"repair", "--state", state}, {"verify"}} {
		_, stderr := s.want(1, append([]string{"store"}, args...)...)
		if !strings.Contains(stderr, tool+": its repair is not complete: its contents do not match Nix's database") ||
			!strings.Contains(stderr, state+" mounted?") || !strings.Contains(stderr, "narseal store repair --state "+state+" finishes") {
			t.Errorf("%q: %s", args, stderr)
		}
	}
	if now := s.rows()[tool]; !reflect.DeepEqual(now, before) {
		t.Errorf("the database has %v, had %v", now, before)
	}
	// The runs have removed the directory that they made.
	rename("/elsewhere/state", "/mounted/state")
	if out, stderr := s.want(0, "store", "repair", "--state", state); out != tool+"\n" {
		t.Errorf("%s%s", out, stderr)
	}
	s.clean("after")
	s.want(0, "store", "verify")
	if _, err := os.Lstat(s.get("NIX_STATE_DIR") + "/narseal.states"); !os.IsNotExist(err) {
		t.Errorf("the note is left: %v", err)
	}

	// A path that Nix has brought back needs no state directory.
	s = newNixStore(t)
	_, _, _, tool = s.fill()
	lost := t.TempDir()
	s.killed(":", "--state", lost, tool)
	if err := os.RemoveAll(lost); err != nil {
		t.Fatal(err)
	}
	s.nix(nil, "nix-store", "--delete", "--ignore-liveness", tool)
	stale, _ := rewritten(t, "lld-arm64")
	s.nix(exportOf([]closurePath{{path: tool, tree: nartest.Exec(stale)}}), "nix-store", "--import")
	s.want(3, "store", "verify")
	s.want(0, "store", "repair")
	s.clean("brought back")
	s.want(0, "store", "verify")
	if _, err := os.Lstat(s.get("NIX_STATE_DIR") + "/narseal.states"); !os.IsNotExist(err) {
		t.Errorf("the note is left: %v", err)
	}
}

// A note that cannot be read or parsed is an error of each command, and repair changes nothing.
func TestStoreNoteUnclear(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	before := s.rows()
	note := s.get("NIX_STATE_DIR") + "/narseal.states"
	for what, make := range map[string]func() error{
		"empty":           func() error { return os.WriteFile(note, nil, 0o644) },
		"cut":             func() error { return os.WriteFile(note, []byte(`[{"dir":"/x","paths":["`), 0o644) },
		"a relative name": func() error { return os.WriteFile(note, []byte(`[{"dir":"x"}]`), 0o644) },
		"no store path":   func() error { return os.WriteFile(note, []byte(`[{"dir":"/x","paths":["../x"]}]`), 0o644) },
		"another value":   func() error { return os.WriteFile(note, []byte(`["/x"]`), 0o644) },
		"too long": func() error {
			return os.WriteFile(note, []byte("[]"+strings.Repeat(" ", 1<<20)), 0o644)
		},
		"a directory": func() error { return os.Mkdir(note, 0o755) },
		"a symlink":   func() error { return os.Symlink("nowhere", note) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"verify"}, {"repair", "--dry-run"}, {"repair"}, {"repair", "--state", t.TempDir()}} {
			_, stderr := s.want(1, append([]string{"store"}, args...)...)
			if strings.Count(stderr, note+": it is not known which repairs are not complete: ") != 1 {
				t.Errorf("%s: %q: %s", what, args, stderr)
			}
		}
		if now := s.rows(); !reflect.DeepEqual(now, before) {
			t.Errorf("%s: the store has changed", what)
		}
		if err := os.Remove(note); err != nil {
			t.Fatal(err)
		}
	}
	if out, stderr := s.want(0, "store", "repair"); out != app+"\n"+tool+"\n" {
		t.Errorf("%s%s", out, stderr)
	}
}

// knownToOthers fails the test unless another user learns from store verify what a run has not completed, whatever umask that
// run had, and whoever can read its state directory. as runs the program as that user, through the daemon.
func (s *nixStore) knownToOthers(as func(args ...string) (status int, out string)) {
	s.t.Helper()
	stale, _ := rewritten(s.t, "lld-arm64")
	private := s.t.TempDir()
	if err := os.Chmod(private, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for i, state := range [][]string{nil, {"--state", private + "/state"}} {
		path := s.path("xy"[i:i+1], "tool")
		s.nix(exportOf([]closurePath{{path: path, tree: nartest.Exec(stale)}}), "nix-store", "--import")
		s.killed("umask 077", append(state, path)...)
		for _, args := range [][]string{{"verify"}, {"verify", path}, {"repair", "--dry-run"}} {
			if status, out := as(append([]string{"store"}, args...)...); status != 1 || !strings.Contains(out, path+": its repair is not complete; unless") {
				s.t.Errorf("%q: %q: %d, %s", state, args, status, out)
			}
		}
		s.want(0, append([]string{"store", "repair"}, state...)...)
		s.clean(fmt.Sprintf("%q", state))
		if status, out := as("store", "verify"); status != 0 {
			s.t.Errorf("%q: %d, %s", state, status, out)
		}
	}
}
