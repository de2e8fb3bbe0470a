package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
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

// names lists a directory.
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
	stale, good := machotest.Stale(20000)
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

// TestInPlaceReadOnlyDirectory repairs in directories as a Nix store has them, as
// their owner. Their modes come back, also where a file in them fails.
func TestInPlaceReadOnlyDirectory(t *testing.T) {
	stale, good := machotest.Stale(20000)
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
		t.Errorf("the directory holds %q, want %q", got, want)
	}
}

// stoppedTree has directories as in a Nix store: not writable, and of time 1.
type stoppedTree struct {
	root, top string
	files     []string
	dirs      map[string][]string // with what they hold
}

func newStoppedTree(t *testing.T, stale []byte) *stoppedTree {
	root := t.TempDir()
	tree := &stoppedTree{root: root, top: filepath.Join(root, "tree"), dirs: map[string][]string{}}
	for d := range 6 {
		dir := filepath.Join(tree.top, fmt.Sprintf("d%d", d%3), fmt.Sprint(d))
		for f := range 3 {
			name := filepath.Join(dir, string(rune('a'+f)))
			tree.files = append(tree.files, name)
			if f == 2 && d > 0 {
				if err := os.Link(filepath.Join(tree.top, "d0/0/c"), name); err != nil {
					t.Fatal(err)
				}
				continue
			}
			writeFile(t, name, stale)
		}
	}
	err := filepath.WalkDir(tree.top, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			tree.dirs[name] = names(t, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range tree.dirs {
		if err := errors.Join(os.Chtimes(dir, time.Time{}, time.Unix(1, 0)), os.Chmod(dir, 0o555)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for dir := range tree.dirs {
			os.Chmod(dir, 0o755)
		}
	})
	return tree
}

// counter returns a function that counts the files that were replaced since.
func (tree *stoppedTree) counter(t *testing.T) func() int {
	inodes := func() (all []fs.FileInfo) {
		for _, name := range tree.files {
			info, err := os.Lstat(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, info)
		}
		return all
	}
	before := inodes()
	return func() (n int) {
		for i, info := range inodes() {
			if !os.SameFile(info, before[i]) {
				n++
			}
		}
		return n
	}
}

// check wants each file to be one of two, and directories as they were.
func (tree *stoppedTree) check(t *testing.T, what string, old, new []byte, times bool) (replaced int) {
	t.Helper()
	for _, name := range tree.files {
		switch got := readFile(t, name); {
		case bytes.Equal(got, new):
			replaced++
		case !bytes.Equal(got, old):
			t.Errorf("%s: %s is neither the old nor the new file", what, name)
		}
	}
	for dir, want := range tree.dirs {
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("%s: %s holds %q, want %q", what, dir, got, want)
		}
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o555|fs.ModeDir {
			t.Errorf("%s: %s has mode %v", what, dir, info.Mode())
		}
		if times && info.ModTime().Unix() != 1 {
			t.Errorf("%s: %s has time %v", what, dir, info.ModTime())
		}
	}
	return replaced
}

// TestInPlaceStopped stops a run at many moments. Each file is the old one or the new one, directories have their mode
// and time, and nothing is left. After SIGKILL the next run has to see to that, but for the times, and completes the
// work. NARSEAL_KILLS is how often each signal is sent.
func TestInPlaceStopped(t *testing.T) {
	rounds := killCount(t, 6)
	stale, good := machotest.Stale(20_000)
	tree := newStoppedTree(t, stale)
	if status, stderr := runStatus(t, asOwner(t, "narseal", "repair", "--in-place", tree.top)); status != 0 || stderr != "" {
		t.Fatalf("status %d, %s", status, stderr)
	}
	if n := tree.check(t, "not stopped", good, good, true); n != len(tree.files) {
		t.Fatalf("%d of %d files were replaced", n, len(tree.files))
	}
	for i, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		inTheMiddle, marked, hidden, stopped, tries := 0, 0, 0, 0, 0
		for ; stopped < rounds && tries < 20*rounds; tries++ {
			what := fmt.Sprintf("%v, round %d", sig, tries)
			tree := newStoppedTree(t, stale)
			wanted := random.IntN(len(tree.files))
			replaced := tree.counter(t)
			if killWhen(t, asOwner(t, "narseal", "repair", "--in-place", tree.top), sig, random, func() bool { return replaced() >= wanted }) {
				stopped++
			}
			if sig == syscall.SIGKILL {
				for dir, want := range tree.dirs {
					if info, err := os.Stat(dir); err == nil && info.Mode() != 0o555|fs.ModeDir {
						marked++
					}
					hidden += len(names(t, dir)) - len(want)
				}
				for _, name := range tree.files {
					if got := readFile(t, name); bytes.Equal(got, good) {
						inTheMiddle++
						break
					}
				}
				status, stderr := runStatus(t, asOwner(t, "narseal", "repair", "--in-place", tree.top))
				if status != 0 {
					t.Fatalf("%s: the next run: status %d, %s", what, status, stderr)
				}
				if n := tree.check(t, what, good, good, false); n != len(tree.files) {
					t.Errorf("%s: %d of %d files are repaired after the next run", what, n, len(tree.files))
				}
			} else if n := tree.check(t, what, stale, good, true); n > 0 && n < len(tree.files) {
				inTheMiddle++
			}
			if t.Failed() {
				return
			}
		}
		t.Logf("%v: %d of %d rounds were stopped, %d ended with some files repaired; %d directories were left writable and %d hidden files",
			sig, stopped, tries, inTheMiddle, marked, hidden)
		if stopped < rounds {
			t.Errorf("%v: only %d of %d runs were stopped before they ended", sig, stopped, tries)
		}
	}
}

// A Nix store with a database somewhere in the tree is left as it is, and that is an error.
func TestInPlaceStoreBelow(t *testing.T) {
	image := golden(t, "A/ents-arm64")
	image[200] ^= 1
	dir := t.TempDir()
	inStore := filepath.Join(dir, "machines/m1/nix/store", strings.Repeat("1", 32)+"-x", "image")
	beside := filepath.Join(dir, "machines/m1/image")
	database := filepath.Join(dir, "machines/m1/nix/var/nix/db/db.sqlite")
	for name, data := range map[string][]byte{inStore: image, beside: image, database: nil} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	changed := func(name string) bool {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return !bytes.Equal(got, image)
	}
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{program, "repair", "--in-place", dir}, strings.NewReader(""), &stdout, &stderr)
	if status != statusError || !strings.Contains(stderr.String(), "machines/m1/nix/store: it is a Nix store") || changed(inStore) || !changed(beside) {
		t.Errorf("status %d, %s%s", status, &stdout, &stderr)
	}
	status = run(t.Context(), []string{program, "repair", "--in-place", "--force", dir}, strings.NewReader(""), &stdout, &stderr)
	if status != statusDone || !changed(inStore) {
		t.Errorf("--force: status %d, %s%s", status, &stdout, &stderr)
	}
}
