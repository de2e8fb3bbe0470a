package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"narseal/macho/machotest"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// killCount is how often a test kills each command: NARSEAL_KILLS, or a few times.
func killCount(t *testing.T, few int) int {
	t.Helper()
	s := os.Getenv("NARSEAL_KILLS")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// killWhen starts a command and sends it a signal a moment after its work has reached a point. It reports whether the
// command had not ended by then.
func killWhen(t *testing.T, cmd *exec.Cmd, sig syscall.Signal, random *rand.Rand, reached func() bool) (killed bool) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	for !reached() {
		select {
		case <-ended:
			return false
		case <-time.After(50 * time.Microsecond):
		}
	}
	select {
	case <-ended:
		return false
	case <-time.After(time.Duration(random.IntN(500)) * time.Microsecond):
	}
	_ = cmd.Process.Signal(sig)
	<-ended
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status.Signaled() || status.ExitStatus() == 128+int(sig)
}

// killedCache is a cache of which each path changes, by repair and by rules.
type killedCache struct {
	dir, other, state string
	old, repaired     map[string][]byte // NARs by store path
	swapped           map[string][]byte
}

const killedPaths = 12

func newKilledCache(t *testing.T) *killedCache {
	t.Helper()
	top := t.TempDir()
	c := &killedCache{dir: filepath.Join(top, "cache"), other: filepath.Join(top, "other"), state: filepath.Join(top, "state"),
		old: map[string][]byte{}, repaired: map[string][]byte{}, swapped: map[string][]byte{}}
	stale, good := machotest.Stale(5000)
	for i := range killedPaths {
		base := fmt.Sprintf("%032d-path", i)
		text := fmt.Sprintf("%s %s ", hashA, hashB)
		tree := func(image []byte, text string) []byte {
			return nartest.Tree(nartest.Dir{"image": nartest.Exec(image), "n": nartest.File(strconv.Itoa(i)), "text": nartest.File(strings.Repeat(text, 500))})
		}
		path := "/nix/store/" + base
		c.old[path], c.repaired[path] = tree(stale, text), tree(good, text)
		c.swapped[path] = tree(good, strings.NewReplacer(hashA, hashB, hashB, hashA).Replace(text))
		writeMember(t, c.dir, base, c.old[path], compression.Gzip, nil)
	}
	return c
}

// check wants each path of a cache to be what one of the sets says, and complete. It returns how many are of the last set.
func (c *killedCache) check(t *testing.T, what, dir string, sets ...map[string][]byte) (last int) {
	t.Helper()
	infos, err := filepath.Glob(filepath.Join(dir, "*.narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range infos {
		n, err := narinfo.ParseNamed(filepath.Base(name), readFile(t, name), "/nix/store")
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		f, err := os.Open(filepath.Join(dir, n.URL))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		r, _, err := compression.Decompress(f)
		var nar []byte
		if err == nil {
			nar, err = io.ReadAll(r)
		}
		f.Close()
		if err != nil || sha256.Sum256(nar) != n.NarHash || int64(len(nar)) != n.NarSize {
			t.Errorf("%s: %s: %v, or not the NAR of its narinfo", what, n.StorePath, err)
			continue
		}
		found := false
		for i, set := range sets {
			if bytes.Equal(nar, set[n.StorePath]) {
				found = true
				if i == len(sets)-1 {
					last++
				}
			}
		}
		if !found {
			t.Errorf("%s: %s has other contents than it should", what, n.StorePath)
		}
	}
	return last
}

// left returns the hidden files below a directory.
func left(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") {
			all = append(all, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestCacheKilled kills each command that writes caches, at moments that lie where it has done a part of its work. After
// each kill the cache is complete: each path is the old or the new one. The next run completes the work, whatever was
// done before, and nothing is left. NARSEAL_KILLS is how often each command is killed.
func TestCacheKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	kills := killCount(t, 3)
	swap := "-m " + hashA + "=" + hashB + " -m " + hashB + "=" + hashA
	for i, line := range []string{
		"cache repair CACHE", "cache repair --prune CACHE", "cache repair -o OTHER CACHE",
		"cache rewrite --repair all SWAP CACHE", "cache rewrite --repair all --prune SWAP CACHE", "cache rewrite --repair all -o OTHER SWAP CACHE",
	} {
		t.Run(strings.ReplaceAll(line, " ", "_"), func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, uint64(i)))
			killed, inTheMiddle, hidden, tries := 0, 0, 0, 0
			for ; killed < kills && tries < 20*kills; tries++ {
				c := newKilledCache(t)
				command := func() *exec.Cmd {
					args := strings.Fields(strings.NewReplacer("CACHE", c.dir, "OTHER", c.other, "SWAP", swap).Replace(line))
					cmd := exec.Command("narseal", append(args, "--state", c.state, "-j", "2")...)
					return cmd
				}
				after, out := c.repaired, c.dir
				if strings.Contains(line, "rewrite") {
					after = c.swapped
				}
				if strings.Contains(line, "OTHER") {
					out = c.other
				}
				// NARs of the output appear one by one.
				names := func() int { list, _ := os.ReadDir(filepath.Join(out, "nar")); return len(list) }
				want := names() + 1 + random.IntN(killedPaths)
				for killWhen(t, command(), syscall.SIGKILL, random, func() bool { return names() >= want }) {
					killed++
					what := fmt.Sprintf("kill %d", killed)
					c.check(t, what+", the input", c.dir, c.old, after)
					if n := c.check(t, what, out, c.old, after); n > 0 && n < killedPaths {
						inTheMiddle++
					}
					hidden += len(left(t, out))
					if killed == kills || random.IntN(3) > 0 {
						break
					}
					want = names() + 1 // the next run is killed, too
				}
				if status, stderr := runStatus(t, command()); status != 0 {
					t.Fatalf("the next run: status %d: %s", status, stderr)
				}
				if n := c.check(t, "after the next run", out, after); n != killedPaths {
					t.Errorf("after the next run, %d of %d paths are done", n, killedPaths)
				}
				if got := left(t, out); got != nil {
					t.Errorf("the next run left %q", got)
				}
				if strings.Contains(line, "--prune") {
					if n := names(); n != killedPaths {
						t.Errorf("after the next run, there are %d NARs, want %d", n, killedPaths)
					}
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("%d runs, %d kills, %d of them in the middle, %d hidden files", tries, killed, inTheMiddle, hidden)
			if killed < kills {
				t.Errorf("only %d of %d runs were killed before they ended", killed, tries)
			}
		})
	}
}
