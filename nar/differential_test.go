package nar_test

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	nixnar "github.com/nix-community/go-nix/pkg/nar"

	"narseal/nar"
	"narseal/nar/nartest"
)

var (
	differentialN       = flag.Int("differential.n", 200, "archives to compare with nix-store and go-nix")
	differentialSeed    = flag.Uint64("differential.seed", 1, "what the archives are made from")
	differentialWorkers = flag.Int("differential.workers", 2, "nix-store processes at once")
	differentialServer  = flag.Bool("differential.server", false, "restore many archives by a nix-store process (needs cc)")
)

// TestDifferential mutates archives and compares this package with nix-store --restore and with go-nix. Where they
// differ, a rule of the other reader's model must explain it, and the model must have predicted exactly what that
// reader did.
//
//	go test ./nar -run 'TestDifferential$' -v -timeout 0 -differential.n 100000 -differential.server
func TestDifferential(t *testing.T) {
	var (
		mu    sync.Mutex
		next  uint64
		tally = map[string]int{}
		wg    sync.WaitGroup
	)
	for range *differentialWorkers {
		nix := newRestorer(t)
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= uint64(*differentialN) || t.Failed() {
					return
				}
				data := mutant(rand.New(rand.NewPCG(*differentialSeed, i)))
				lines, err := compare(nix, data)
				if err != nil {
					t.Errorf("archive %d of seed %d: %v\n%q", i, *differentialSeed, err, data)
				}
				mu.Lock()
				for _, l := range lines {
					tally[l]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, l := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("%7d  %s", tally[l], l)
	}
	if !t.Failed() && (tally["narseal: takes"] == 0 || tally["narseal: refuses"] == 0) {
		t.Error("the archives are all of one kind")
	}
}

// compare returns the rules that explain a difference, for the statistics, and an error if there is none.
func compare(nix *restorer, data []byte) ([]string, error) {
	ours, err := readAll(bytes.NewReader(data))
	lines := []string{"narseal: takes"}
	if err != nil {
		lines[0] = "narseal: refuses"
	}
	for _, other := range []struct {
		name  string
		model verdict
		run   func() (verdict, error)
		order bool // the order of the items matters
	}{
		{"nix-store", likeNix(data), func() (verdict, error) { return nix.run(data) }, false},
		{"go-nix", likeGoNix(data), func() (verdict, error) { return runGoNix(data) }, true},
	} {
		theirs, runErr := other.run()
		if runErr != nil {
			return lines, fmt.Errorf("%s: %w", other.name, runErr)
		}
		if theirs.ok != other.model.ok || theirs.ok && !slices.Equal(theirs.items, other.model.items) {
			return lines, fmt.Errorf("%s: took it: %t, as %v\nits model: %t, as %v", other.name, theirs.ok, theirs.items, other.model.ok, other.model.items)
		}
		list := ours
		if !other.order {
			list = slices.SortedFunc(slices.Values(ours), func(a, b item) int { return strings.Compare(diskPath(a), diskPath(b)) })
		}
		if theirs.ok == (err == nil) && (!theirs.ok || slices.Equal(theirs.items, list)) {
			continue
		}
		if len(other.model.rules) == 0 {
			return lines, fmt.Errorf("%s: took it: %t, as %v; narseal: %v, %v; and no rule says why", other.name, theirs.ok, theirs.items, ours, err)
		}
		lines = append(lines, other.name+": differs")
		for r := range other.model.rules {
			lines = append(lines, other.name+": differs: "+r)
		}
	}
	return lines, nil
}

// diskPath is an item's path relative to where it is restored.
func diskPath(it item) string { return strings.TrimSuffix(it.Path, "/") }

// A restorer restores archives with nix-store, in a process for each or in a server.
type restorer struct {
	nixStore, dir string
	to            io.Writer // the server's input, or nil
	from          *bufio.Scanner
}

func newRestorer(t *testing.T) *restorer {
	n := &restorer{nixStore: nartest.Tool(t, "nix-store"), dir: t.TempDir()}
	if !*differentialServer {
		return n
	}
	library := filepath.Join(n.dir, "server.so")
	cc := exec.Command(nartest.Tool(t, "cc", "clang", "clang-14"), "-shared", "-fPIC", "-o", library, "testdata/restore-server.c")
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := n.command()
	cmd.Env = append(cmd.Env, "LD_PRELOAD="+library)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	n.to, n.from = stdin, bufio.NewScanner(stdout)
	return n
}

func (n *restorer) command(args ...string) *exec.Cmd {
	cmd := exec.Command(n.nixStore, args...)
	cmd.Env = []string{"HOME=" + n.dir, "NIX_CONF_DIR=" + n.dir, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// restore restores the archive of a file, and returns nix-store's exit status
// and messages.
func (n *restorer) restore(in, out string) (int, []byte, error) {
	if n.to != nil {
		if _, err := fmt.Fprintf(n.to, "%s\n%s\n", in, out); err != nil {
			return 0, nil, err
		}
		if !n.from.Scan() {
			return 0, nil, fmt.Errorf("the server is gone: %w", cmp.Or(n.from.Err(), io.EOF))
		}
		status, err := strconv.Atoi(n.from.Text())
		if err != nil {
			return 0, nil, err
		}
		msg, err := os.ReadFile(in + ".err")
		return status, msg, err
	}
	f, err := os.Open(in) // os/exec would copy from anything else
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	cmd := n.command("--restore", out)
	cmd.Stdin = f
	hang := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer hang.Stop()
	msg, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), msg, nil
	}
	return 0, msg, err
}

// run restores an archive with nix-store and reads the tree.
func (n *restorer) run(data []byte) (verdict, error) {
	in, out := filepath.Join(n.dir, "in"), filepath.Join(n.dir, "out")
	if err := os.WriteFile(in, data, 0o644); err != nil {
		return verdict{}, err
	}
	defer os.RemoveAll(out)
	status, msg, err := n.restore(in, out)
	if err != nil {
		return verdict{}, err
	}
	if status == 1 && bytes.Contains(msg, []byte("error:")) {
		return verdict{}, nil
	}
	if status != 0 {
		return verdict{}, fmt.Errorf("hangs or crashes: status %d: %s", status, msg)
	}
	v := verdict{ok: true}
	err = filepath.WalkDir(out, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if p == out && os.IsNotExist(err) {
				return nil // a root that creates no file
			}
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		it := item{Header: nixnar.Header{Path: "/" + strings.TrimPrefix(p[len(out):], "/")}}
		switch {
		case d.IsDir():
			it.Type = nixnar.TypeDirectory
		case d.Type() == fs.ModeSymlink:
			it.Type = nixnar.TypeSymlink
			it.LinkTarget, err = os.Readlink(p)
		default:
			it.Type, it.Size, it.Executable = nixnar.TypeRegular, info.Size(), info.Mode()&0o100 != 0
			var b []byte
			b, err = os.ReadFile(p)
			it.contents = string(b)
		}
		v.items = append(v.items, it)
		return err
	})
	slices.SortFunc(v.items, func(a, b item) int { return strings.Compare(diskPath(a), diskPath(b)) })
	return v, err
}

func runGoNix(data []byte) (verdict, error) {
	var v verdict
	var err error
	if hangs(func() { v.items, err = goNixRead(data) }, time.Minute) {
		return verdict{}, fmt.Errorf("hangs")
	}
	v.ok = err == nil
	return v, nil
}

// Where no rule applies, the models agree with this package. Otherwise a rule could explain anything.
func TestModels(t *testing.T) {
	for i := range uint64(8000) {
		data := mutant(rand.New(rand.NewPCG(2, i)))
		err := rewriteSmall(io.Discard, bytes.NewReader(data))
		nix, goNix := likeNix(data), likeGoNix(data)
		if (err == nil) != (nix.ok && len(nix.rules) == 0) {
			t.Fatalf("archive %d: %v, but the model of nix-store says %t with %v\n%q", i, err, nix.ok, nix.rules, data)
		}
		if goNix.ok && len(goNix.rules) == 0 && err != nil {
			t.Fatalf("archive %d: %v, but the model of go-nix takes it by no rule\n%q", i, err, data)
		}
	}
	if _, ok := decode(nartest.Tree(nested(nar.MaxDepth + 1))); ok {
		t.Error("the grammar has no end of depth")
	}
}
