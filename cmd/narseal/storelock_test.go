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

// start begins store repair. end waits for it.
func (s *nixStore) start(args ...string) (end func() (status int, stdout, stderr string)) {
	s.t.Helper()
	cmd := exec.Command("narseal", append([]string{"store", "repair", "-v"}, args...)...)
	cmd.Env = s.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return func() (int, string, string) {
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode(), out.String(), errs.String()
	}
}

// await waits until a file is there.
func await(t *testing.T, name string) {
	t.Helper()
	for range 6000 {
		if found, _ := filepath.Glob(name); len(found) > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not come", name)
}

// lockPath takes Nix's lock of a path, and gives it up as Nix does.
func (s *nixStore) lockPath(path string) (release func()) {
	s.t.Helper()
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return func() {
		_ = os.Remove(path + ".lock")
		_, _ = f.WriteString("d")
		f.Close()
	}
}

// A path on which Nix is working is waited for. What has become of it meanwhile is not undone: it may have been collected,
// or have other contents.
func TestStoreWaitsForNix(t *testing.T) {
	for what, test := range map[string]struct {
		meanwhile func(s *nixStore, path string)
		want      string
		status    int
	}{
		"nothing": {func(*nixStore, string) {}, "1 signature repaired", 0},
		"collected": {func(s *nixStore, path string) {
			s.nix(nil, "nix-store", "--delete", "--ignore-liveness", path)
		}, "it disappeared during the run", 0},
		"replaced": {func(s *nixStore, path string) {
			if err := os.Remove(path); err != nil {
				s.t.Fatal(err)
			}
			writeFile(s.t, path, []byte("other"))
			s.nix([]byte(path+"\n\n0\n"), "nix-store", "--register-validity", "--reregister")
		}, "somebody has replaced it by Nix meanwhile, trying again", 0},
	} {
		t.Run(what, func(t *testing.T) {
			s := newNixStore(t)
			_, _, _, tool := s.fill()
			s.set("PATH", unableNix(t, s.tool("nix-store"), "--repair-path")+":"+s.get("PATH"))
			release := s.lockPath(tool)
			end := s.start(tool)
			await(t, s.get("NIX_STATE_DIR")+"/narseal/store-*/"+filepath.Base(tool)) // it is staged
			time.Sleep(200 * time.Millisecond)
			test.meanwhile(s, tool)
			release()
			status, out, stderr := end()
			if status != test.status || !strings.Contains(stderr, test.want) || (out != "") != (what == "nothing") {
				t.Errorf("status %d, want %d: %s%s", status, test.status, out, stderr)
			}
			if _, err := os.Lstat(tool); (err == nil) != (what != "collected") {
				t.Errorf("the path: %v", err)
			}
			if what == "replaced" && string(readFile(t, tool)) != "other" {
				t.Error("the path is not the one that was put there")
			}
			s.clean("after")
			for _, left := range []string{s.get("NIX_STATE_DIR") + "/narseal", tool + ".lock", filepath.Dir(tool) + "/.narseal-" + filepath.Base(tool)} {
				if _, err := os.Lstat(left); err == nil {
					t.Errorf("%s is left", left)
				}
			}
		})
	}
}

// While a path is replaced and registered, no Nix can work on it: its lock is held. A file of such a lock that a killed
// Nix has left is no obstacle.
func TestStoreHoldsPath(t *testing.T) {
	s := newNixStore(t)
	_, _, _, tool := s.fill()
	real, bin := s.tool("nix-store"), t.TempDir()
	writeFile(t, bin+"/nix-store", []byte("#!/bin/sh\ncase $1 in --repair-path) exit 1 ;; --restore|--register-validity|--verify-path)\n"+
		"	touch "+bin+"/at$1; until [ -e "+bin+"/go$1 ]; do sleep 0.01; done ;; esac\nexec "+real+` "$@"`+"\n"))
	if err := os.Chmod(bin+"/nix-store", 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, tool+".lock", []byte("d"))
	s.set("PATH", bin+":"+s.get("PATH"))
	end := s.start(tool)
	for _, step := range []string{"--restore", "--register-validity", "--verify-path"} {
		await(t, bin+"/at"+step)
		f, err := os.Open(tool + ".lock")
		if err != nil {
			t.Fatal(err)
		}
		if info, err := f.Stat(); err != nil || info.Size() > 0 {
			t.Errorf("%s: the lock is stale: %v", step, err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != syscall.EWOULDBLOCK {
			t.Errorf("%s: Nix could take the lock of the path: %v", step, err)
		}
		f.Close()
		writeFile(t, bin+"/go"+step, nil)
	}
	if status, out, stderr := end(); status != 0 || out != tool+"\n" {
		t.Errorf("status %d: %s%s", status, out, stderr)
	}
	s.clean("after")
	if _, err := os.Lstat(tool + ".lock"); err == nil {
		t.Error("the lock is left")
	}
}
