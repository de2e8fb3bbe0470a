package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// A path that lost files or parts of them is not called valid, whoever has left it so: neither by store verify nor by store
// repair, even if no signature is left in it that could be invalid.
func TestStoreLost(t *testing.T) {
	nixes(t, func(t *testing.T, s *nixStore) {
		_, repaired := rewritten(t, "lld-arm64")
		whole, cut, lost, link := s.path("a", "whole"), s.path("b", "cut"), s.path("c", "lost"), s.path("d", "link")
		tree := nartest.Dir{"hello": nartest.Exec(repaired), "many": nartest.Dir{"1": nartest.File("1"), "2": nartest.File("22")}, "to": nartest.Symlink("hello")}
		s.nix(exportOf([]closurePath{
			{path: whole, tree: tree}, {path: cut, tree: tree}, {path: lost, tree: tree}, {path: link, tree: nartest.Symlink("nowhere")},
		}), "nix-store", "--import")
		s.want(0, "store", "verify")
		s.want(0, "store", "repair")

		for _, dir := range []string{cut + "/many", lost} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(cut+"/many/2", 0o644); err != nil {
			t.Fatal(err)
		}
		writeFile(t, cut+"/many/2", nil)
		if err := os.Remove(lost + "/hello"); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"verify"}, {"repair"}, {"repair", "--dry-run"}, {"verify", cut, lost}, {"repair", cut, lost}} {
			_, stderr := s.want(1, append([]string{"store"}, args...)...)
			for _, path := range []string{cut, lost} {
				if !strings.Contains(stderr, path+": its contents do not match Nix's database: its archive has ") {
					t.Errorf("%q does not report %s: %s", args, path, stderr)
				}
			}
			for _, path := range []string{whole, link} {
				if strings.Contains(stderr, filepath.Base(path)) {
					t.Errorf("%q reports %s: %s", args, path, stderr)
				}
			}
		}
	})
}

// Root leaves another user's store alone: that user could not remove the repaired paths, nor anything that refers to them.
func TestStoreOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	before := s.rows()
	state := s.get("NIX_STATE_DIR")
	if err := os.Chown(state+"/db", 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, stderr := s.want(1, "store", "repair"); !strings.Contains(stderr, "/db belongs to user 1") || !strings.Contains(stderr, "sudo -u '#1' narseal store repair") {
		t.Errorf("%s", stderr)
	}
	if out, _ := s.want(0, "store", "repair", "--dry-run"); out != app+"\n"+tool+"\n" {
		t.Errorf("a dry run: %q", out)
	}
	if !reflect.DeepEqual(s.rows(), before) {
		t.Error("the store has changed")
	}
	for _, left := range []string{"/narseal", "/narseal.lock"} {
		if _, err := os.Lstat(state + left); err == nil {
			t.Errorf("%s is left", left)
		}
	}
	if err := os.Chown(state+"/db", 0, 0); err != nil {
		t.Fatal(err)
	}
	s.want(0, "store", "repair")
	s.clean("after")
}

// A path that Nix replaces while store repair works on it is looked at again, and not taken for one that somebody has changed
// without Nix: a run through the daemon has no lock in common with others.
func TestStoreReplacedMeanwhile(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	_, repaired := rewritten(t, "lld-arm64")
	bin, nix := t.TempDir(), s.tool("nix-store")
	writeFile(t, bin+"/new", repaired)
	// Nix puts the contents in place first, and registers them later.
	writeFile(t, bin+"/nix-store", []byte(`#!/bin/sh
if [ "$1 $2" = "--dump `+tool+`" ] && mkdir `+bin+`/once 2>/dev/null; then
	cp `+bin+`/new `+bin+`/made && chmod 555 `+bin+`/made && mv -f `+bin+`/made `+tool+`
	(sleep 0.3; `+nix+` --dump-db `+tool+` | sed 2,3d | `+nix+` --register-validity --reregister) >/dev/null 2>&1 &
fi
exec `+nix+` "$@"
`))
	if err := os.Chmod(bin+"/nix-store", 0o755); err != nil {
		t.Fatal(err)
	}
	s.set("PATH", bin+":"+s.get("PATH"))
	out, stderr := s.want(0, "store", "repair", "-v")
	if out != app+"\n" || !strings.Contains(stderr, tool+": somebody has replaced it by Nix meanwhile, trying again") {
		t.Errorf("%s%s", out, stderr)
	}
	if _, err := os.Stat(bin + "/once"); err != nil {
		t.Error(err)
	}
	s.clean("after")
}

// What a run has staged while the database had another name, as by a bind mount in a container, is not passed over in silence,
// in whatever state directory it is.
func TestStoreStateOfOtherName(t *testing.T) {
	s := newNixStore(t)
	_, _, _, tool := s.fill()
	state, path := t.TempDir(), s.get("PATH")
	s.set("PATH", unableNix(t, s.tool("nix-store"), "--repair-path|--restore")+":"+path)
	s.want(1, "store", "repair", "--state", state, tool)
	s.set("PATH", path)
	staged, err := filepath.Glob(state + "/store-*")
	if err != nil || len(staged) != 1 {
		t.Fatalf("%q, %v", staged, err)
	}
	if err := os.Rename(staged[0], state+"/store-0123456789abcdef"); err != nil {
		t.Fatal(err)
	}
	want := tool + ": perhaps its repair is not complete: " + state + "/store-0123456789abcdef has staged it"
	for _, args := range [][]string{{"verify"}, {"repair", "--dry-run"}, {"repair", "--dry-run", "--state", state}, {"repair", "--state", state}} {
		if _, _, stderr := s.narseal(append([]string{"store"}, args...)...); strings.Count(stderr, want) != 1 {
			t.Errorf("%q: %s", args, stderr)
		}
	}
	s.want(0, "store", "repair")
	if _, stderr := s.want(0, "store", "verify"); !strings.Contains(stderr, want) {
		t.Errorf("after another run: %s", stderr)
	}
	if err := os.RemoveAll(state + "/store-0123456789abcdef/" + filepath.Base(tool)); err != nil {
		t.Fatal(err)
	}
	if _, stderr := s.want(0, "store", "repair", "--state", state); strings.Contains(stderr, "perhaps") {
		t.Errorf("nothing is staged: %s", stderr)
	}
}

// A report has every failure, also of paths that are not looked at.
func TestStoreReportsFailures(t *testing.T) {
	s := newNixStore(t)
	lib, other, app, tool := s.fill()
	rep := t.TempDir() + "/x.json"
	report := func(status int, args ...string) (failed []string) {
		t.Helper()
		_, stderr := s.want(status, append([]string{"store", args[0], "--report", rep}, args[1:]...)...)
		var got struct {
			Summary map[string]int
			Paths   []struct {
				StorePath, Status string
				Errors            []string
			}
		}
		text := readFile(t, rep)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for _, p := range got.Paths {
			counts[p.Status]++
			for _, err := range p.Errors {
				if !strings.Contains(stderr, err) {
					t.Errorf("%q: %q is not on stderr: %s", args, err, stderr)
				}
				failed = append(failed, strings.TrimPrefix(p.StorePath, s.dir)+" "+p.Status)
			}
		}
		if got.Summary == nil || !reflect.DeepEqual(got.Summary, counts) || strings.Count(stderr, "error: ") != len(failed) {
			t.Errorf("%q: the report has %v, and lists %v: %s", args, got.Summary, counts, stderr)
		}
		slices.Sort(failed)
		return failed
	}
	check := func(failed []string, want ...string) {
		t.Helper()
		for i, path := range want {
			want[i] = strings.TrimPrefix(path, s.dir) + " failed"
		}
		if slices.Sort(want); !slices.Equal(failed, want) {
			t.Errorf("failed: %q, want %q", failed, want)
		}
	}
	nothing := s.path("z", "nothing")
	check(report(1, "verify", lib, nothing, t.TempDir()), nothing, "")
	check(report(1, "verify", nothing), nothing)
	check(report(1, "repair", lib, nothing, t.TempDir()), nothing, "")
	check(report(1, "repair", "--dry-run", nothing), nothing)

	state := t.TempDir()
	s.killed(":", "--state", state, tool)
	if err := os.Rename(other, s.dir+"/.other"); err != nil {
		t.Fatal(err)
	}
	check(report(1, "verify"), tool, other)
	check(report(1, "verify", tool), tool)
	check(report(1, "repair", "--dry-run"), tool, other)
	check(report(1, "repair", lib, tool, other), tool, other)

	// The repair that the earlier run began cannot be finished.
	record, err := filepath.Glob(fmt.Sprintf("%s/store-*/%s/record.json", state, filepath.Base(tool)))
	if err != nil || len(record) != 1 {
		t.Fatalf("%q, %v", record, err)
	}
	text := readFile(t, record[0])
	writeFile(t, record[0], nil)
	check(report(1, "repair", "--state", state, lib), tool)
	check(report(1, "repair", "--state", state, lib, tool), tool)
	writeFile(t, record[0], text)

	// It is finished, and an error all the same.
	key := filepath.Join(t.TempDir(), "key")
	writeFile(t, key, []byte("test1:jbX9NxZp8WB/coK8k7yLf0gNYmBbIbCrOFwgJgI7OV+0sASf4R5oFQlioSlN3bJ56uvshzr7S9Z75pcv+9hSkQ==\n"))
	if failed := report(1, "repair", "--state", state, "--secret-key-file", key, tool); !slices.Equal(failed, []string{strings.TrimPrefix(tool, s.dir) + " finished"}) {
		t.Errorf("%q", failed)
	}
	s.set("PATH", unableNix(t, s.tool("nix-store"), "--repair-path")+":"+s.get("PATH"))
	if failed := report(1, "repair", "--secret-key-file", key, app); !slices.Equal(failed, []string{strings.TrimPrefix(app, s.dir) + " changed"}) {
		t.Errorf("%q", failed)
	}
	writeFile(t, s.get("NIX_STATE_DIR")+"/narseal.states", nil)
	check(report(1, "verify", lib), "")
}
