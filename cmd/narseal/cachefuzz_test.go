package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"narseal/macho/machotest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// FuzzCacheDirectory runs the whole program over a cache that somebody hostile has changed: files replaced by symlinks,
// FIFOs and directories, names that lead outside, forged lines and forged state. The cache lies in a tree of sentinels.
// Nothing of the tree may change or show in the output, and no run may hang.
//
// The input is a program of three bytes per step (what, which object, how) and then the command.
func FuzzCacheDirectory(f *testing.F) {
	for command := range byte(len(cacheLines)) {
		f.Add([]byte{}, command, "")
		for what := range byte(len(cacheChanges)) {
			for object := range byte(len(cacheObjects)) {
				if (what+object+command)%5 == 0 { // a fifth of all: the engine finds the others
					f.Add([]byte{what, object, command}, command, "../outside/keep")
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, steps []byte, command byte, text string) {
		if len(steps) > 3*8 || len(text) > 4096 {
			return
		}
		dir := t.TempDir()
		c := newHostileCache(t, dir)
		for ; len(steps) >= 3; steps = steps[3:] {
			c.change(steps[0], steps[1], steps[2], text)
		}
		before := snapshot(t, c.outside)
		line := cacheLines[int(command)%len(cacheLines)]
		args := strings.Fields(strings.NewReplacer("CACHE", c.cache, "OTHER", filepath.Join(dir, "other"), "STATE", filepath.Join(dir, "state")).Replace(line))
		done := make(chan outcome, 1)
		go func() { done <- invoke(strings.NewReader(""), args...) }()
		select {
		case o := <-done:
			if o.status != statusDone && o.status != statusError && o.status != statusInvalid {
				t.Errorf("%s: status %d; stderr: %s", line, o.status, o.stderr)
			}
			if o.status == statusError && o.stderr == "" {
				t.Errorf("%s: status 1 without a word", line)
			}
			if strings.Contains(o.stdout+o.stderr, sentinelText) {
				t.Errorf("%s: contents from outside of the cache are shown: %s%s", line, o.stdout, o.stderr)
			}
		case <-time.After(hangTime):
			t.Fatalf("%s: did not end within %v", line, hangTime)
		}
		if after := snapshot(t, c.outside); after != before {
			t.Errorf("%s: the tree outside changed from\n%sto\n%s", line, before, after)
		}
	})
}

const sentinelText = "sentinel-of-somebody"

var cacheLines = []string{
	"cache verify CACHE",
	"cache repair CACHE",
	"cache repair --prune CACHE",
	"cache repair -o OTHER CACHE",
	"cache rewrite --rename -m " + hashA + "=" + hashB + " CACHE",
	"cache rewrite --rename --prune -m " + hashA + "=" + hashB + " CACHE",
	"cache rewrite --rename --state STATE --prune -m " + hashA + "=" + hashB + " -m " + hashB + "=" + hashA + " CACHE",
	"cache rewrite --rename --dry-run -m " + hashA + "=" + hashB + " CACHE",
	"refs CACHE",
	"verify CACHE",
}

// cacheObjects are the names that steps are about: those of the cache, of what runs have kept in it, and others.
var cacheObjects = []string{
	"nix-cache-info", hashA + ".narinfo", hashB + ".narinfo", hashA + ".ls", "NAR", "nar", ".narseal", ".narseal/lock",
	".narseal/journal-0", "debuginfo", "log", "x.narinfo", ".narseal-0123456789abcdef",
}

// cacheChanges are what a step does with an object: name is its path, outside the tree of sentinels.
var cacheChanges = []func(name, outside, how, text string) error{
	func(name, outside, how, _ string) error { return os.Symlink(filepath.Join(outside, how), name) },
	func(name, outside, how, _ string) error { return os.Symlink("../outside/"+how, name) },
	func(name, _, _, _ string) error { return syscall.Mkfifo(name, 0o666) },
	func(name, _, _, _ string) error { return os.Mkdir(name, 0o777) },
	func(name, outside, how, _ string) error { return os.Link(filepath.Join(outside, "linked"), name) },
	func(name, _, _, text string) error { return os.WriteFile(name, []byte(text), 0o666) },
	func(name, _, how, text string) error { return forge(name, how, text) },
	func(string, string, string, string) error { return nil }, // it is only removed
}

// forge writes a narinfo, or a journal as runs have kept it in the cache, with a field that text gives.
func forge(name, how, text string) error {
	text = strings.ReplaceAll(text, "\n", "")
	lines := map[string]string{
		"StorePath": "/nix/store/" + hashA + "-x", "URL": "nar/x.nar", "Compression": "none", "NarHash": "sha256:" + strings.Repeat("0", 52), "NarSize": "8",
		"References": "",
	}
	keys := []string{"URL", "StorePath", "References", "NarSize", "Compression", "NarHash"}
	lines[keys[len(how)%len(keys)]] = text
	var b strings.Builder
	for _, k := range []string{"StorePath", "URL", "Compression", "NarHash", "NarSize", "References"} {
		b.WriteString(k + ": " + lines[k] + "\n")
	}
	if strings.Contains(name, "journal") {
		b.Reset()
		b.WriteString(`{"in":{"name":"` + hashA + `.narinfo","sha256":"00"},"out":{"name":"` + hashB + `.narinfo","sha256":"00"},"oldNar":"` + text + `","newNar":"nar/y.nar"}` + "\n")
	}
	return os.WriteFile(name, []byte(b.String()), 0o666)
}

type hostileCache struct{ cache, outside, nar string }

// newHostileCache makes a cache with a stale image and one with a hash, between sentinels.
func newHostileCache(t *testing.T, dir string) *hostileCache {
	t.Helper()
	c := &hostileCache{cache: filepath.Join(dir, "cache"), outside: filepath.Join(dir, "outside")}
	stale, l := machotest.Image{CodeSize: 800, Text: []byte(hashA), Directories: []machotest.Directory{{PageShift: 8}}}.Build()
	stale[l.CommandsEnd] ^= 1
	for base, node := range map[string]nartest.Node{hashA + "-x": nartest.Exec(stale), hashB + "-y": nartest.File("text " + sampleHash)} {
		writeMember(t, c.cache, base, nartest.Tree(node), compression.None, nil)
	}
	nars, err := filepath.Glob(filepath.Join(c.cache, "nar", "*"))
	if err != nil || len(nars) != 2 {
		t.Fatal(nars, err)
	}
	c.nar = nars[0]
	for _, name := range []string{"keep", "lock", "journal-0", "nix-cache-info", hashA + ".narinfo", "x.nar", "sub/keep"} {
		name = filepath.Join(c.outside, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(sentinelText), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A hard link shows what it is a link to: of it, only the contents may not change.
	if err := os.WriteFile(filepath.Join(c.outside, "linked"), []byte("linked\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	return c
}

// change makes one step. One that cannot be made is left out.
func (c *hostileCache) change(what, object, how byte, text string) {
	name := cacheObjects[int(object)%len(cacheObjects)]
	if name == "NAR" {
		name = c.nar
	} else {
		name = filepath.Join(c.cache, name)
	}
	targets := []string{"", "keep", "sub", "nix-cache-info", "lock", "x.nar", "missing"}
	_ = os.MkdirAll(filepath.Dir(name), 0o777)
	if info, err := os.Stat(filepath.Dir(name)); err != nil || !info.IsDir() {
		return // os.RemoveAll would wait for a FIFO
	}
	_ = os.RemoveAll(name)
	_ = cacheChanges[int(what)%len(cacheChanges)](name, c.outside, targets[int(how)%len(targets)], text)
}
