package binarycache_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/folder"
	"narseal/nar/binarycache/state"
	"narseal/nar/compression"
)

var kills = flag.Int("kills", 4, "how often TestKilled kills a run")

var seed = flag.Uint64("seed", 1, "of the moments at which TestKilled kills")

// swapping is a closure that a swap of two hashes would undo if it were done twice.
func swapping(n int) (members []member) {
	for i := range n {
		base := fmt.Sprintf("%032d-path", i)
		text := fmt.Sprintf("%d: %s %s %s", i, hash("l"), hash("m"), strings.Repeat("text ", 1000))
		members = append(members, member{base: base, nar: nar(text), compression: compression.Gzip, refs: []string{hash("l") + "-x"}})
	}
	return members
}

func swap(o *binarycache.RewriteOptions) {
	replacing(o, hash("l"), hash("m"), hash("m"), hash("l"))
	o.Once = true
}

// withState runs Rewrite with a state of its own in a directory.
func withState(t testing.TB, states, dir string, o binarycache.RewriteOptions, do func(o binarycache.RewriteOptions)) {
	t.Helper()
	var err error
	if o.State, err = state.Open(states, dir, "work"); err != nil {
		t.Fatal(err)
	}
	do(o)
	if err := o.State.Close(); err != nil {
		t.Error(err)
	}
}

// rewriteWith is rewrite with a state.
func rewriteWith(t testing.TB, states, dir string, o binarycache.RewriteOptions) (sum binarycache.Summary) {
	t.Helper()
	withState(t, states, dir, o, func(o binarycache.RewriteOptions) { sum, _ = rewrite(t, dir, o) })
	return sum
}

// Once is once, also for a run that comes later.
func TestOnce(t *testing.T) {
	for _, once := range []bool{false, true} {
		dir, state := newCache(t, swapping(3)...), filepath.Join(t.TempDir(), "state")
		before := valid(t, dir)
		o := binarycache.RewriteOptions{}
		swap(&o)
		o.Once = once
		if once { // nothing is done without a state
			if sum, err := binarycache.Rewrite(t.Context(), folder.New(dir), o); err == nil || len(sum.Paths) > 0 || !maps.Equal(valid(t, dir), before) {
				t.Errorf("without a state: %v, %v", sum, err)
			}
		}
		rewriteWith(t, state, dir, o)
		after := valid(t, dir)
		fill(t, dir, member{base: hash("z") + "-new", nar: nar(hash("l"))})
		sum := rewriteWith(t, state, dir, o)
		want, contents := "changed=4", before
		if once {
			want, contents = "changed=1 finished=3", after
		}
		got := valid(t, dir)
		if got["/nix/store/"+hash("z")+"-new"] != string(nar(hash("m"))) {
			t.Errorf("once %v: the new path: %q", once, got["/nix/store/"+hash("z")+"-new"])
		}
		delete(got, "/nix/store/"+hash("z")+"-new")
		if statuses(sum) != want || !maps.Equal(got, contents) {
			t.Errorf("once %v: %s, want %s", once, statuses(sum), want)
		}
		if left, err := os.ReadDir(state); (len(left) > 0) != once {
			t.Errorf("once %v: state: %v, %v", once, left, err)
		}
	}
}

// A run that is canceled is continued, and what is finished is not filtered again.
func TestContinues(t *testing.T) {
	const n = 12
	for _, output := range []bool{false, true} {
		dir := newCache(t, swapping(n)...)
		whole := newCache(t, swapping(n)...)
		o := binarycache.RewriteOptions{}
		swap(&o)
		rewriteWith(t, t.TempDir(), whole, o)
		state := filepath.Join(t.TempDir(), "state")
		want := valid(t, whole)
		at := dir
		if output {
			at = t.TempDir()
			o.Output = folder.New(at)
		}

		replace := o.Filter
		var filtered atomic.Int64 // first passes that were whole
		o.Filter = func(ctx context.Context, p *binarycache.Path, dst io.Writer, src io.Reader) error {
			if !p.Again && !p.Finished {
				filtered.Add(1)
			}
			return replace(ctx, p, dst, src)
		}
		runs, reported := 0, map[string]int{}
		for {
			runs++
			ctx, cancel := context.WithCancel(t.Context())
			done := 0
			o.Done = func(r binarycache.Result) {
				if r.Err != nil {
					t.Error(r.Err)
				}
				if r.Status == binarycache.Changed {
					reported[r.Info]++
					if done++; done == 5 {
						cancel()
					}
				}
			}
			var sum binarycache.Summary
			var err error
			withState(t, state, at, o, func(o binarycache.RewriteOptions) { sum, err = binarycache.Rewrite(ctx, folder.New(dir), o) })
			cancel()
			valid(t, at)
			if err == nil {
				if sum.Paths[binarycache.Finished] == 0 {
					t.Errorf("output %v: the last run: %s", output, statuses(sum))
				}
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if runs != 3 {
			t.Errorf("output %v: %d runs, want 3", output, runs)
		}
		// A run that is cut short may have one path in hand.
		if f := filtered.Load(); f < n || f > n+2 {
			t.Errorf("output %v: %d paths filtered, want %d", output, f, n)
		}
		for name, times := range reported {
			if times != 1 {
				t.Errorf("output %v: %s was done %d times", output, name, times)
			}
		}
		if got := valid(t, at); !maps.Equal(got, want) {
			t.Errorf("output %v: the contents differ from those of one run", output)
		}
		if left, err := os.ReadDir(state); (len(left) > 0) == output {
			t.Errorf("output %v: state: %v, %v", output, left, err)
		}
	}
}

// Failed paths are tried again by the next run, and the others are not.
func TestFailedAreTriedAgain(t *testing.T) {
	dir, state := newCache(t, swapping(3)...), t.TempDir()
	bad := fmt.Sprintf("%032d.narinfo", 1)
	good := read(t, dir)[bad]
	write(t, dir, map[string]string{bad: good + "garbage\n"})
	o := binarycache.RewriteOptions{}
	swap(&o)
	if sum := rewriteWith(t, state, dir, o); statuses(sum) != "changed=2 failed=1" {
		t.Errorf("first: %s", statuses(sum))
	}
	write(t, dir, map[string]string{bad: good})
	if sum := rewriteWith(t, state, dir, o); statuses(sum) != "changed=1 finished=2" {
		t.Errorf("second: %s", statuses(sum))
	}
	valid(t, dir)
}

const killedEnv = "BINARYCACHE_TEST_KILLED"

// An announcedStore writes a line to stdout before each Put and Delete, so that who reads knows how far the run is.
type announcedStore struct{ *folder.Store }

func (s announcedStore) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	fmt.Println("put", o.Name)
	return s.Store.Put(ctx, o, body, c)
}

func (s announcedStore) Delete(ctx context.Context, name string, c binarycache.Condition) error {
	fmt.Println("delete", name)
	return s.Store.Delete(ctx, name, c)
}

// TestKilledHelper is not a test: it is the process that TestKilled kills.
func TestKilledHelper(t *testing.T) {
	dir := os.Getenv(killedEnv)
	if dir == "" {
		t.Skip("run by TestKilled")
	}
	o := binarycache.RewriteOptions{Options: binarycache.Options{Jobs: 2}, Prune: true}
	swap(&o)
	withState(t, dir+".state", dir, o, func(o binarycache.RewriteOptions) {
		if _, err := binarycache.Rewrite(t.Context(), announcedStore{folder.New(dir)}, o); err != nil {
			t.Error(err)
		}
	})
}

// killedRun starts a run and kills it a moment after it has announced so many writes. It says whether that came before its
// end, and how many writes it announced.
func killedRun(t *testing.T, dir string, after int, moment time.Duration) (killed bool, writes int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledHelper$", "-test.count=1")
	cmd.Env = append(os.Environ(), killedEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	lines := bufio.NewScanner(io.TeeReader(out, &text))
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "put ") || strings.HasPrefix(lines.Text(), "delete ") {
			if writes++; writes == after {
				time.Sleep(moment) // in the write, or between it and the next one
				cmd.Process.Kill()
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return true, writes
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	return false, writes
}

// kill -9 at any moment leaves a valid cache, and the next run completes it.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	const n = 20
	dir := filepath.Join(t.TempDir(), "cache")
	fill(t, dir, swapping(n)...)
	before := read(t, dir)
	want := valid(t, dir)
	for path, content := range want {
		want[path] = strings.NewReplacer(hash("l"), hash("m"), hash("m"), hash("l")).Replace(content)
	}
	random := rand.New(rand.NewPCG(*seed, 0))
	reset := func() {
		for _, d := range []string{dir, dir + ".state"} {
			if err := os.RemoveAll(d); err != nil {
				t.Fatal(err)
			}
		}
		write(t, dir, before)
	}
	_, all := killedRun(t, dir, 0, 0)
	interrupted := 0
	for i := range *kills {
		reset()
		left := all
		for round := 0; ; round++ {
			after := 0 // let it come to its end
			if round < 3 {
				after = 1 + random.IntN(max(1, left/2))
			}
			killed, writes := killedRun(t, dir, after, time.Duration(random.Int64N(int64(time.Millisecond))))
			now := valid(t, dir) // at every moment
			if len(now) != n {
				t.Fatalf("kill %d: %d paths, want %d", i, len(now), n)
			}
			if !killed {
				break
			}
			interrupted++
			left = max(1, left-writes)
		}
		if got := valid(t, dir); !maps.Equal(got, want) {
			t.Fatalf("kill %d: the contents are not what one run makes", i)
		}
		files := read(t, dir)
		if len(files) != len(before) {
			t.Errorf("kill %d: %d files, want %d", i, len(files), len(before))
		}
	}
	if interrupted < *kills {
		t.Errorf("%d runs were interrupted, want at least %d", interrupted, *kills)
	}
	t.Logf("%d runs of %d writes interrupted, seed %d", interrupted, all, *seed)
}
