package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// between returns a directory with a nix-store that runs a script first if one of its options, separated by bars, is
// given. The script calls Nix as $nix.
func (s *nixStore) between(options, script string) string {
	s.t.Helper()
	bin := s.t.TempDir()
	writeFile(s.t, bin+"/nix-store", []byte("#!/bin/sh\nnix="+s.tool("nix-store")+"\ncase $1 in "+options+") "+script+" ;; esac\nexec $nix \"$@\"\n"))
	if err := os.Chmod(bin+"/nix-store", 0o755); err != nil {
		s.t.Fatal(err)
	}
	return bin
}

// A path that an earlier run has replaced, and not with the keys of this one, is an error: it is not signed as wanted.
func TestStoreFinishedWithoutKey(t *testing.T) {
	s := newNixStore(t)
	_, _, _, tool := s.fill()
	path := s.get("PATH")
	// Nix takes the path, and the run does not get to know that.
	s.set("PATH", unableNix(t, s.tool("nix-store"), "--verify-path|--restore")+":"+path)
	s.want(1, "store", "repair", tool)
	s.set("PATH", path)
	s.clean("between")
	key := filepath.Join(t.TempDir(), "key")
	writeFile(t, key, []byte("test1:jbX9NxZp8WB/coK8k7yLf0gNYmBbIbCrOFwgJgI7OV+0sASf4R5oFQlioSlN3bJ56uvshzr7S9Z75pcv+9hSkQ==\n"))
	out, stderr := s.want(1, "store", "repair", "--secret-key-file", key, tool)
	if out != tool+"\n" || !strings.Contains(stderr, tool+": it was repaired, and is not signed by the key of this run") {
		t.Errorf("%s%s", out, stderr)
	}
}

// A run that is stopped counts what it has finished, and nothing that it was about to do has failed.
func TestStoreStopped(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	path := s.get("PATH")
	s.set("PATH", unableNix(t, s.tool("nix-store"), "--repair-path|--restore")+":"+path)
	s.want(1, "store", "repair", tool)
	s.set("PATH", path)
	at := filepath.Join(t.TempDir(), "at")
	s.set("PATH", s.between("--dump", "case $2 in "+app+") touch "+at+"; exec sleep 60 ;; esac")+":"+path)
	cmd := exec.Command("narseal", "store", "repair")
	cmd.Env = s.env
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, at)
	time.Sleep(50 * time.Millisecond)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if got := out.String(); got != tool+"\n" || !strings.Contains(stderr.String(), "stopped: 1 path changed") || strings.Contains(stderr.String(), "error") {
		t.Errorf("%s%s", got, &stderr)
	}
	s.set("PATH", path)
	s.want(0, "store", "repair")
	s.clean("after")
}

// What was found in a path that is collected meanwhile does not count.
func TestStoreCollected(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	s.set("PATH", s.between("--dump-db", "case $2 in "+tool+") $nix --delete --ignore-liveness "+tool+" >/dev/null ;; esac")+":"+s.get("PATH"))
	out, stderr := s.want(0, "store", "repair", "-v")
	if out != app+"\n" || !strings.Contains(stderr, tool+": it disappeared during the run") || strings.Contains(stderr, "cannot be repaired") {
		t.Errorf("%s%s", out, stderr)
	}
	s.clean("after")
}
