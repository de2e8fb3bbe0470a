package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// hangTime is far above what any of these runs takes, and what a run that waits for a FIFO never reaches the end of.
const hangTime = 30 * time.Second

// TestSpecialFilesInCache has what is no regular file in the place of each kind of object of a cache. No run may wait
// for it, follow it or read it without end.
func TestSpecialFilesInCache(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("StorePath secret-of-somebody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	objects := []string{"nix-cache-info", hashA + ".narinfo", hashA + ".ls", "NAR"}
	for what, place := range map[string]func(name string) error{
		"fifo":            func(name string) error { return syscall.Mkfifo(name, 0o666) },
		"endless":         func(name string) error { return os.Symlink("/dev/zero", name) },
		"secret":          func(name string) error { return os.Symlink(secret, name) },
		"socket":          func(name string) error { return syscall.Mknod(name, syscall.S_IFSOCK|0o666, 0) },
		"directory":       func(name string) error { return os.Mkdir(name, 0o777) },
		"link to nowhere": func(name string) error { return os.Symlink("/nonexistent/x", name) },
	} {
		for _, object := range objects {
			for _, line := range []string{
				"cache verify IN", "cache repair IN", "cache repair -o OUT IN", "cache rewrite --rename -m " + hashA + "=" + hashB + " IN",
				"cache rewrite --rename --prune -m " + hashA + "=" + hashB + " IN", "refs IN", "verify IN",
			} {
				t.Run(strings.ReplaceAll(what+" "+object+" "+shortLine(line), " ", "_"), func(t *testing.T) {
					dir := t.TempDir()
					in := filepath.Join(dir, "in")
					if err := addMember(in, hashA+"-x", nartest.Tree(nartest.File(hashA)), compression.None, nil); err != nil {
						t.Fatal(err)
					}
					name := filepath.Join(in, object)
					if object == "NAR" {
						nars, err := filepath.Glob(filepath.Join(in, "nar", "*"))
						if err != nil || len(nars) != 1 {
							t.Fatal(nars, err)
						}
						name = nars[0]
					}
					if err := os.Remove(name); err != nil && object != hashA+".ls" {
						t.Fatal(err)
					}
					if err := place(name); err != nil {
						t.Fatal(err)
					}
					out := runInTime(t, dir, strings.Fields(strings.NewReplacer("IN", in, "OUT", filepath.Join(dir, "out")).Replace(line)))
					if strings.Contains(out, "secret-of-somebody") {
						t.Errorf("the output has the contents of a file outside of the cache: %s", out)
					}
					if info, err := os.Lstat(name); err == nil && what != "directory" && info.Mode().IsRegular() && object != hashA+".ls" {
						t.Errorf("%s was replaced by a regular file", object)
					}
				})
			}
		}
	}
}

// TestCacheDirectoriesOutside has a directory of a cache as a symlink to a directory outside of it, which stays as it is.
func TestCacheDirectoriesOutside(t *testing.T) {
	for _, link := range []string{"nar", ".narseal"} {
		for _, line := range []string{
			"cache verify IN", "cache repair IN", "cache rewrite --rename -m " + hashA + "=" + hashB + " IN",
			"cache rewrite --rename --prune -m " + hashA + "=" + hashB + " IN", "cache rewrite --rename -m " + hashA + "=" + hashB + " -o IN GOOD", "refs IN",
		} {
			t.Run(strings.ReplaceAll(link+" "+shortLine(line), " ", "_"), func(t *testing.T) {
				dir := t.TempDir()
				in, good, outside := filepath.Join(dir, "in"), filepath.Join(dir, "good"), filepath.Join(dir, "outside")
				for _, d := range []string{in, good} {
					if err := addMember(d, hashA+"-x", nartest.Tree(nartest.File(hashA)), compression.None, nil); err != nil {
						t.Fatal(err)
					}
				}
				var err error
				if link == "nar" {
					err = os.Rename(filepath.Join(in, link), outside)
				} else {
					err = os.Mkdir(outside, 0o777)
				}
				for _, name := range []string{"lock", "new-1-1", "journal-0", "keep"} {
					if err == nil {
						err = os.WriteFile(filepath.Join(outside, name), []byte(name), 0o666)
					}
				}
				if err == nil {
					err = os.Symlink(outside, filepath.Join(in, link))
				}
				if err != nil {
					t.Fatal(err)
				}
				before := snapshot(t, outside)
				runInTime(t, dir, strings.Fields(strings.NewReplacer("IN", in, "GOOD", good).Replace(line)))
				if after := snapshot(t, outside); after != before {
					t.Errorf("the directory outside changed from\n%sto\n%s", before, after)
				}
			})
		}
	}
}

// snapshot lists what lies in a directory, with modes, sizes, times and contents.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprint(&b, strings.TrimPrefix(path, dir), " ", info.Mode(), " ", info.Size(), " ", info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", content)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// runInTime runs narseal in a process of its own, and returns what it printed. One that hangs is killed and fails.
func runInTime(t *testing.T, dir string, args []string) string {
	t.Helper()
	c := exec.Command("narseal", args...)
	c.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"))
	timer := time.AfterFunc(hangTime, func() { c.Process.Kill() })
	out, err := c.CombinedOutput()
	if !timer.Stop() {
		t.Fatalf("did not end within %v; output: %s", hangTime, out)
	}
	if err != nil && c.ProcessState.ExitCode() != 1 && c.ProcessState.ExitCode() != 3 {
		t.Errorf("%v; output: %s", err, out)
	}
	return string(out)
}
