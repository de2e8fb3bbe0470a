package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"narseal/macho/machotest"
)

// staleImage returns an image with a code slot that does not match, and the
// same with the slot as it should be.
func staleImage(t *testing.T, size int) (stale, good []byte) {
	t.Helper()
	good, layout := machotest.Image{CodeSize: size, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	stale = bytes.Clone(good)
	stale[layout.Offset+layout.Directories[0].Hashes] ^= 0xff
	return stale, good
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o777); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// asOwner is a command that cannot do what only root may, even as root.
func asOwner(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if os.Getuid() == 0 {
		setpriv, err := exec.LookPath("setpriv")
		if err != nil {
			t.Skip("root may write everywhere, and there is no setpriv: ", err)
		}
		args = append([]string{setpriv, "--bounding-set", "-all", "--inh-caps", "-all"}, args...)
	}
	return exec.Command(args[0], args[1:]...)
}

func runStatus(t *testing.T, cmd *exec.Cmd) (status int, stderr string) {
	t.Helper()
	var errs strings.Builder
	cmd.Stderr = &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), errs.String()
}

// names lists a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

// TestInPlaceKeeps replaces a file and wants everything but its contents kept.
func TestInPlaceKeeps(t *testing.T) {
	stale, good := staleImage(t, 20000)
	name := filepath.Join(t.TempDir(), "image")
	writeFile(t, name, stale)
	if os.Getuid() == 0 {
		if err := os.Chown(name, 12345, 23456); err != nil {
			t.Fatal(err)
		}
	}
	attribute := "user.narseal"
	err := unix.Setxattr(name, attribute, []byte("kept"), 0)
	if errors.Is(err, unix.ENOTSUP) {
		t.Log("no extended attributes here")
		attribute = ""
	} else if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o551|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	mtime := time.Unix(1, 123456789)
	if err := os.Chtimes(name, time.Time{}, mtime); err != nil {
		t.Fatal(err)
	}
	var before, after unix.Stat_t
	if err := unix.Stat(name, &before); err != nil {
		t.Fatal(err)
	}
	if status, stderr := runStatus(t, exec.Command("narseal", "repair", "--in-place", name)); status != 0 || stderr != "" {
		t.Fatalf("status %d, %s", status, stderr)
	}
	if err := unix.Stat(name, &after); err != nil {
		t.Fatal(err)
	}
	if before.Ino == after.Ino {
		t.Error("the file was written in its place: the kernel keeps the signature of an inode")
	}
	if before.Mode != after.Mode || before.Uid != after.Uid || before.Gid != after.Gid {
		t.Errorf("mode %#o, owner %d:%d; want %#o, %d:%d", after.Mode, after.Uid, after.Gid, before.Mode, before.Uid, before.Gid)
	}
	if before.Mtim != after.Mtim {
		t.Errorf("modification time %v, want %v", after.Mtim, before.Mtim)
	}
	if attribute != "" {
		value := make([]byte, 10)
		n, err := unix.Getxattr(name, attribute, value)
		if err != nil || string(value[:n]) != "kept" {
			t.Errorf("attribute %q, %v", value[:max(n, 0)], err)
		}
	}
	if !bytes.Equal(readFile(t, name), good) {
		t.Error("not the repaired image")
	}
}

// TestInPlaceReadOnlyFolder repairs in folders as a Nix store has them, as
// their owner. Their modes come back, also where a file in them fails.
func TestInPlaceReadOnlyFolder(t *testing.T) {
	stale, good := staleImage(t, 20000)
	root := t.TempDir()
	for _, name := range []string{"a/b/one", "a/b/two", "a/three"} {
		writeFile(t, filepath.Join(root, name), stale)
		if err := os.Chmod(filepath.Join(root, name), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(root, "a/three"), filepath.Join(root, "a/b/linked")); err != nil {
		t.Fatal(err)
	}
	foreign := os.Getuid() == 0
	if foreign {
		// Whose owner cannot be kept without being root.
		writeFile(t, filepath.Join(root, "a/b/foreign"), stale)
		if err := os.Chown(filepath.Join(root, "a/b/foreign"), 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	dirs := []string{filepath.Join(root, "a/b"), filepath.Join(root, "a")}
	for _, dir := range dirs {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(dir, 0o755) })
	}
	want := names(t, dirs[0])
	status, stderr := runStatus(t, asOwner(t, "narseal", "repair", "--in-place", root))
	switch {
	case !foreign && (status != 0 || stderr != ""):
		t.Errorf("status %d, %s", status, stderr)
	case foreign && (status != 1 || !strings.Contains(stderr, "a/b/foreign: keep the owner 12345:12345: ")):
		t.Errorf("status %d, %s", status, stderr)
	}
	for _, name := range []string{"a/b/one", "a/b/two", "a/three", "a/b/linked"} {
		if !bytes.Equal(readFile(t, filepath.Join(root, name)), good) {
			t.Errorf("%s is not the repaired image", name)
		}
	}
	if foreign && !bytes.Equal(readFile(t, filepath.Join(root, "a/b/foreign")), stale) {
		t.Error("the file that failed was changed")
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o555 {
			t.Errorf("%s has mode %v", dir, info.Mode())
		}
	}
	if got := names(t, dirs[0]); !slices.Equal(got, want) {
		t.Errorf("the folder holds %q, want %q", got, want)
	}
}

// TestInPlaceStopped stops a run at many moments: each file is the old one or
// the new one, folders have their mode, and nothing is left. SIGKILL may leave
// a folder writable, and where files need names a hidden one.
func TestInPlaceStopped(t *testing.T) {
	const files = 4
	stale, good := staleImage(t, 4<<20)
	sums := map[string]int{}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		for i := range 6 {
			root := t.TempDir()
			dir := filepath.Join(root, "dir")
			for f := range files {
				writeFile(t, filepath.Join(dir, string(rune('a'+f))), stale)
			}
			if err := os.Chmod(dir, 0o555); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(dir, 0o755) })
			cmd := asOwner(t, "narseal", "repair", "--in-place", root)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(i) * 30 * time.Millisecond)
			_ = cmd.Process.Signal(sig) // unless it is done
			_ = cmd.Wait()
			for f := range files {
				switch got := readFile(t, filepath.Join(dir, string(rune('a'+f)))); {
				case bytes.Equal(got, stale):
					sums["old"]++
				case bytes.Equal(got, good):
					sums["new"]++
				default:
					t.Fatalf("%v: a file that is neither the old nor the new one", sig)
				}
			}
			if sig == syscall.SIGKILL {
				continue
			}
			if got := names(t, dir); len(got) != files {
				t.Errorf("%v: the folder holds %q", sig, got)
			}
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o555 {
				t.Errorf("%v: folder: %v, %v", sig, info.Mode(), err)
			}
		}
	}
	t.Logf("files: %v", sums)
}
