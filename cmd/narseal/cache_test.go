package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"narseal/nar/nartest"
)

func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../testdata/macho/goldens", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goldenTree holds images of one side of the golden pairs, and an unsigned file.
func goldenTree(t *testing.T, side string, damaged bool) nartest.Dir {
	t.Helper()
	dir := nartest.Dir{"text": nartest.File("see " + map[string]string{"A": hashA, "B": hashB}[side] + "-x")}
	for _, name := range []string{"lld-arm64", "dual-universal", "ents-arm64"} {
		b := golden(t, side+"/"+name)
		if damaged && name == "dual-universal" {
			b[33000] ^= 1
		}
		if damaged && name == "ents-arm64" {
			b[200] ^= 1
		}
		dir[name] = nartest.Exec(b)
	}
	return nartest.Dir{"bin": dir, "lib": nartest.Symlink("bin")}
}

const otherHash = "cccccccccccccccccccccccccccccccc"

// goldenCache has Nix make a cache of a path with golden images, and one that refers to
// it. It returns its directory, a secret key's file and the public key.
func goldenCache(t *testing.T, compression string, damaged bool) (dir, secret, public string) {
	t.Helper()
	s := nartest.Nix(t)
	images := "/nix/store/" + hashA + "-images"
	user := "/nix/store/" + otherHash + "-user"
	s.Run(exportOf([]closurePath{
		{path: images, tree: goldenTree(t, "A", damaged), refs: []string{images}},
		{path: user, tree: nartest.Dir{"to": nartest.Symlink(images)}, refs: []string{images}},
	}), "nix-store", "--import")
	dir = filepath.Join(t.TempDir(), "cache")
	s.Run(nil, "nix", "copy", "--to", "file://"+dir+"?compression="+compression+"&write-nar-listing=true", user)
	secret = filepath.Join(t.TempDir(), "secret")
	s.Run(nil, "nix-store", "--generate-binary-cache-key", "repair-1", secret, secret+".pub")
	b, err := os.ReadFile(secret + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return dir, secret, strings.TrimSpace(string(b))
}

// download has Nix copy a path from a cache into an empty store that trusts one key.
func download(t *testing.T, cache, path, key string) (*nartest.Store, error) {
	t.Helper()
	s := nartest.Nix(t)
	_, err := s.Try(nil, "nix", "copy", "--from", "file://"+cache, path, "--option", "require-sigs", "true", "--option", "trusted-public-keys", key)
	return s, err
}

func TestCacheRepairedForNix(t *testing.T) { nartest.EachNix(t, testCacheRepairedForNix) }

func testCacheRepairedForNix(t *testing.T) {
	for _, compression := range []string{"xz", "zstd", "gzip", "none", "bzip2"} {
		t.Run(compression, func(t *testing.T) {
			dir, secret, public := goldenCache(t, compression, true)
			images, user := "/nix/store/"+hashA+"-images", "/nix/store/"+otherHash+"-user"

			status, stdout, stderr := narseal(t, nil, "cache", "verify", "file://"+dir)
			if status != 3 || strings.Count(stdout, images+"/bin/") != 2 || !strings.Contains(stdout, "2 invalid signatures") {
				t.Errorf("verify: status %d\n%s%s", status, stdout, stderr)
			}
			before := filesOf(t, dir)
			status, stdout, stderr = narseal(t, nil, "cache", "repair", "--dry-run", dir)
			if status != 0 || stdout != images+"\n" || !maps.Equal(filesOf(t, dir), before) {
				t.Errorf("dry run: status %d\n%s%s", status, stdout, stderr)
			}
			status, stdout, stderr = narseal(t, nil, "cache", "repair", "--secret-key-file", secret, dir)
			if status != 0 || stdout != images+"\n" || stderr != "" {
				t.Errorf("repair: status %d\n%s%s", status, stdout, stderr)
			}
			if status, stdout, stderr = narseal(t, []byte(images), "cache", "verify", "--trusted-public-keys", public, "--paths", "-", dir); status != 0 || !strings.Contains(stdout, "every signature is valid") {
				t.Errorf("verify: status %d\n%s%s", status, stdout, stderr)
			}
			after := filesOf(t, dir)
			if len(after) != len(before)+1 || after[hashA+".ls"] != before[hashA+".ls"] {
				t.Errorf("files: %q", slices.Sorted(maps.Keys(after)))
			}

			s, err := download(t, dir, images, public)
			if err != nil {
				t.Fatal(err)
			}
			s.Run(nil, "nix-store", "--verify", "--check-contents")
			if status, stdout, stderr = narseal(t, nil, "verify", s.Real(images)); status != 0 {
				t.Errorf("verify what was restored: status %d\n%s%s", status, stdout, stderr)
			}
			// What did not change has no signature, and Nix does not take it.
			if _, err := download(t, dir, user, public); err == nil {
				t.Error("an unsigned path is taken")
			}
			// Everything as it was, but for the damaged page and its slots.
			whole := goldenTree(t, "A", true)["bin"].(nartest.Dir)
			for name, node := range whole {
				got, err := os.ReadFile(filepath.Join(s.Real(images), "bin", name))
				if err != nil {
					t.Fatal(err)
				}
				changed := name == "dual-universal" || name == "ents-arm64"
				var was []byte
				switch n := node.(type) {
				case nartest.Exec:
					was = []byte(n)
				case nartest.File:
					was = []byte(n)
				}
				if len(got) != len(was) || bytes.Equal(got, was) == changed {
					t.Errorf("%s: %d bytes, the same: %v", name, len(got), bytes.Equal(got, was))
				}
			}
		})
	}
}

// Rewriting the A side of the golden pairs in a cache makes the B side.
func TestCacheRewrittenForNix(t *testing.T) { nartest.EachNix(t, testCacheRewrittenForNix) }

func testCacheRewrittenForNix(t *testing.T) {
	for _, compression := range []string{"xz", "zstd", "gzip", "none", "bzip2"} {
		t.Run(compression, func(t *testing.T) {
			dir, secret, public := goldenCache(t, compression, false)
			images, user := "/nix/store/"+hashB+"-images", "/nix/store/"+otherHash+"-user"
			out := filepath.Join(t.TempDir(), "out")
			report := filepath.Join(t.TempDir(), "report.json")
			for _, args := range [][]string{
				{"--output", "file://" + out, "--report", report, dir},
				{"--prune", dir},
			} {
				status, stdout, stderr := narseal(t, nil, append([]string{"cache", "rewrite", "--rename", "-m", hashA + "=" + hashB, "--secret-key-file", secret}, args...)...)
				got := strings.Fields(stdout)
				slices.Sort(got)
				if status != 0 || !slices.Equal(got, []string{images, user}) || stderr != "" {
					t.Fatalf("%q: status %d\n%s%s", args, status, stdout, stderr)
				}
				at := dir
				if args[0] == "--output" {
					at = out
				}
				for name := range filesOf(t, at) {
					if strings.HasPrefix(name, hashA) {
						t.Errorf("%s is there", name)
					}
				}
				s, err := download(t, at, user, public)
				if err != nil {
					t.Fatal(err)
				}
				s.Run(nil, "nix-store", "--verify", "--check-contents")
				if got, want := nartest.Dump(t, s.Real(images)), nartest.Tree(goldenTree(t, "B", false)); !bytes.Equal(got, want) {
					t.Errorf("%q: what is restored differs from the B side of the goldens", args)
				}
				if refs := strings.TrimSpace(string(s.Run(nil, "nix-store", "--query", "--references", images))); refs != images {
					t.Errorf("%q: references %q", args, refs)
				}
			}
			b, err := os.ReadFile(report)
			if err != nil {
				t.Fatal(err)
			}
			var r struct {
				Schema, Command string
				Summary         map[string]int
				Paths           []struct {
					StorePath, NewStorePath, Status, NarHash, NewNarHash string
					Rules                                                []struct{ Count int }
					Signatures                                           []struct{ Path, Status string }
				}
			}
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
			if r.Schema != "narseal/1" || r.Command != "cache rewrite" || r.Summary["changed"] != 2 || len(r.Paths) != 2 {
				t.Errorf("report:\n%s", b)
			}
			if p := r.Paths[0]; p.StorePath != "/nix/store/"+hashA+"-images" || p.NewStorePath != images || p.NarHash == p.NewNarHash ||
				!strings.HasPrefix(p.NewNarHash, "sha256-") || p.Rules[0].Count == 0 || len(p.Signatures) == 0 || p.Signatures[0].Status != "repaired" {
				t.Errorf("report:\n%s", b)
			}
		})
	}
}

// filesOf is every file of a directory.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A signal ends the run at once, nothing half-written stays, and the next run goes on. The run cannot end before: nobody
// takes the lines that it writes.
func TestCacheInterrupted(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("see "+hashA+"-x, and so on\n", 40_000)
	for _, c := range "0123456789" {
		writeMember(t, dir, strings.Repeat(string(c), 32)+"-x", nartest.Tree(nartest.File(text+string(c))), "xz", nil)
	}
	before := filesOf(t, dir)
	changed := func() (n int) {
		for name, data := range filesOf(t, dir) {
			if strings.HasSuffix(name, ".narinfo") && before[name] != data {
				n++
			}
		}
		return n
	}
	args := []string{"cache", "rewrite", "-j", "2", "-m", hashA + "=" + hashB, dir}
	cmd := exec.Command("narseal", args...)
	cmd.Stdout = fullSocket(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for changed() == 0 {
		select {
		case err := <-ended:
			t.Fatalf("ended before any path was changed: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGINT {
		t.Errorf("ended by %v, want SIGINT", err)
	}
	done := changed()
	for name := range filesOf(t, dir) {
		if strings.Contains(name, ".narseal") {
			t.Errorf("%s stays behind", name)
		}
	}
	if status, stdout, stderr := narseal(t, nil, "cache", "verify", dir); status != 0 {
		t.Errorf("verify: status %d\n%s%s", status, stdout, stderr)
	}
	status, stdout, stderr := narseal(t, nil, args...)
	if n := strings.Count(stdout, "\n"); status != 0 || done+n != 10 || changed() != 10 {
		t.Errorf("the second run: status %d, %d paths after %d, %d in all\n%s", status, n, done, changed(), stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, ".narseal")); err == nil {
		t.Error("state stays behind")
	}
	t.Logf("%d paths were changed by the first run", done)
}

// fullSocket returns a socket that takes nothing more until somebody reads it, which nobody does.
func fullSocket(t *testing.T) *os.File {
	t.Helper()
	_, theirs := socket(t)
	raw, err := theirs.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var full error
	err = raw.Control(func(fd uintptr) {
		for b := make([]byte, 4096); full == nil; {
			_, full = syscall.SendmsgN(int(fd), b, nil, nil, syscall.MSG_DONTWAIT)
			if full == syscall.EAGAIN && len(b) > 1 {
				full, b = nil, b[:1]
			}
		}
	})
	if err != nil || full != syscall.EAGAIN {
		t.Fatal(err, full)
	}
	return theirs
}
