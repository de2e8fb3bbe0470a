package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// What is staged by somebody else never becomes contents of the store: neither the directory for it nor one around it may
// be one that others can replace.
func TestStoreStateOfOthers(t *testing.T) {
	s := newNixStore(t)
	s.fill()
	before := s.rows()
	refuse := func(what, state, want string) {
		t.Helper()
		if _, stderr := s.want(1, "store", "repair", "--state", state); !strings.Contains(stderr, want) {
			t.Errorf("%s: %s", what, stderr)
		}
	}
	state := t.TempDir()
	if err := os.Chmod(state, 0o777); err != nil {
		t.Fatal(err)
	}
	refuse("a directory that all can write", state, "other users can write to it")
	refuse("a new directory in it", state+"/new", "other users can write to it")
	refuse("a new one deeper in it", state+"/new/new", "other users can write to it")
	if err := os.Mkdir(state+"/own", 0o755); err != nil {
		t.Fatal(err)
	}
	refuse("one that is there", state+"/own", "other users can write to it")
	refuse("one below that", state+"/own/new", "other users can write to it")
	links := t.TempDir()
	for name, target := range map[string]string{"link": t.TempDir(), "open": state, "nowhere": links + "/none"} {
		if err := os.Symlink(target, filepath.Join(links, name)); err != nil {
			t.Fatal(err)
		}
	}
	refuse("a symlink", links+"/link", "not a directory")
	refuse("a symlink around it", links+"/open/own", "other users can write to it")
	// These cannot be made, which a run must not try forever.
	refuse("a symlink to nothing", links+"/nowhere", "not a directory")
	refuse("below a symlink to nothing", links+"/nowhere/state", "a symlink to what is not there")
	if _, err := os.Stat("/proc/self"); err == nil {
		refuse("in /proc", "/proc/none/state", "mkdir /proc/none: ")
	}
	if os.Geteuid() == 0 {
		for _, dir := range []string{state, state + "/own"} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(state, 1, 1); err != nil {
			t.Fatal(err)
		}
		for what, dir := range map[string]string{
			"another user's directory": state, "a directory in another user's": state + "/own", "a new one": state + "/new",
			"one deeper": state + "/own/new", "one behind a symlink": links + "/open/own",
		} {
			refuse(what, dir, "it belongs to user 1, want 0")
		}
		if err := os.Chmod(state, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
		refuse("in a directory with the sticky bit that belongs to another user", state+"/own", "it belongs to user 1, want 0")
	}
	if !reflect.DeepEqual(s.rows(), before) {
		t.Error("the store has changed")
	}
	// The sticky bit is enough around a directory of one's own.
	if err := os.Chown(state, os.Geteuid(), os.Getegid()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(state, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	s.want(0, "store", "repair", "--state", state+"/own")
	s.clean("after")
}

// A state directory that was there before stays, as its administrator made it. One that a run makes is gone after it.
func TestStoreStateStays(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	there := t.TempDir()
	if err := os.Chmod(there, 0o710); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(there)
	if err != nil {
		t.Fatal(err)
	}
	s.want(0, "store", "repair", "--state", there, app)
	if now, err := os.Stat(there); err != nil || !os.SameFile(now, before) || now.Mode() != before.Mode() {
		t.Errorf("%v, %v", now, err)
	}
	if names, err := os.ReadDir(there); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
	made := t.TempDir() + "/made"
	s.want(0, "store", "repair", "--state", made, tool)
	for _, dir := range []string{made, s.get("NIX_STATE_DIR") + "/narseal"} {
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	s.clean("after")
}

// What is staged must belong to the user as well, or to root.
func TestStoreStagedByOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for files of another user")
	}
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	path := s.get("PATH")
	s.set("PATH", unableNix(t, s.tool("nix-store"), "--repair-path|--restore")+":"+path)
	s.want(1, "store", "repair", tool)
	s.set("PATH", path)
	before := s.rows()
	for _, of := range []string{"", "record.json", "cache", "cache/nar/*.nar", "cache/*.narinfo"} {
		files, err := filepath.Glob(filepath.Join(s.get("NIX_STATE_DIR"), "narseal/store-*", filepath.Base(tool), of))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if err := os.Chown(files[0], 1, 1); err != nil {
			t.Fatal(err)
		}
		if _, stderr := s.want(1, "store", "repair", s.path("c", "lib")); !strings.Contains(stderr, "it belongs to user 1, want 0") {
			t.Errorf("%s: %s", files[0], stderr)
		}
		if !reflect.DeepEqual(s.rows(), before) {
			t.Errorf("%s: the store has changed", files[0])
		}
		if err := os.Chown(files[0], 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if out, stderr := s.want(0, "store", "repair"); out != tool+"\n"+app+"\n" {
		t.Errorf("%s%s", out, stderr)
	}
	s.clean("after")
}
