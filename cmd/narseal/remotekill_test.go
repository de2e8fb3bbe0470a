package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
)

// checkRemote holds a cache to what is true at every moment: each narinfo has its NAR, of its contents, and each NAR is
// whole. It returns how many narinfos there are.
func checkRemote(t *testing.T, c remoteCache, list string) int {
	t.Helper()
	var hashes []string
	for hash := range strings.SplitSeq(strings.TrimSpace(list), "\n") {
		hashes = append(hashes, hash)
	}
	o := binarycache.VerifyOptions{Options: binarycache.Options{Jobs: 4, Done: func(r binarycache.Result) {
		if r.Err != nil {
			t.Errorf("%s: %v", r.Info, r.Err)
		}
	}}}
	o.Hashes = func(yield func(string, error) bool) {
		for _, h := range hashes {
			if !yield(h, nil) {
				return
			}
		}
	}
	sum, err := binarycache.Verify(t.Context(), openRemote(t, c.url), o)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range c.objects() {
		hash, _, _ := strings.Cut(path.Base(name), ".")
		if strings.HasPrefix(name, "nar/") && cachetest.SHA256([]byte(content)) != "sha256:"+hash {
			t.Errorf("%s: torn: %d bytes", name, len(content))
		}
	}
	return sum.Paths[binarycache.Verified]
}

// A run is killed at random moments, by a signal that it cannot see. The cache is whole at each, and the next run
// completes it. NARSEAL_REMOTE_KILLS is how often.
func TestRemoteKilled(t *testing.T) {
	kills := 20
	if s := os.Getenv("NARSEAL_REMOTE_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	const paths = 8
	objects, list := staleCache(t, paths)
	key, _ := testKey(t)
	dir := t.TempDir()
	upload(t, openRemote(t, dir), objects)
	if status, _, stderr := narseal(t, nil, "cache", "repair", "--secret-key-file", key, dir); status != 0 {
		t.Fatalf("status %d\n%s", status, stderr)
	}
	want := filesOf(t, dir)
	for _, name := range []string{"s3", "nginx"} {
		t.Run(name, func(t *testing.T) {
			c := remoteCaches[name](t)
			args := []string{"cache", "repair", "--secret-key-file", key, "--paths", "-", c.url}
			run := func() *exec.Cmd {
				cmd := exec.Command("narseal", args...)
				cmd.Stdin = strings.NewReader(list)
				return cmd
			}
			store := openRemote(t, c.url)
			upload(t, store, objects)
			start := time.Now()
			if out, err := run().CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			whole := time.Since(start)
			random := rand.New(rand.NewPCG(1, 2))
			killed, between := 0, 0
			for killed < kills {
				for name := range c.objects() {
					if _, ok := objects[name]; !ok {
						if err := store.Delete(t.Context(), name, binarycache.Condition{}); err != nil {
							t.Fatal(err)
						}
					}
				}
				upload(t, store, objects)
				for part := 0; part < 3; part++ {
					var out bytes.Buffer
					cmd := run()
					cmd.Stdout, cmd.Stderr = &out, &out
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Duration(random.Int64N(int64(whole))))
					cmd.Process.Kill()
					if err := cmd.Wait(); err == nil {
						break // it was faster
					}
					killed++
					if n := checkRemote(t, c, list); n != paths {
						t.Errorf("%d paths after a kill", n)
					}
					if got := c.objects(); !maps.Equal(got, objects) && !maps.Equal(got, want) {
						between++
					}
				}
				if out, err := run().CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				got := c.objects()
				maps.DeleteFunc(got, func(name, _ string) bool { return strings.HasPrefix(name, "narseal-probe-") })
				if !maps.Equal(got, want) {
					t.Fatalf("got %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
				}
			}
			t.Logf("%d kills, %d of them in between; a whole run takes %s", killed, between, whole)
		})
	}
}

// Two runs and another writer work on one cache. Nothing of what either has written is lost.
func TestRemoteWriters(t *testing.T) {
	const paths = 12
	objects, list := staleCache(t, paths)
	key, _ := testKey(t)
	for _, name := range []string{"s3", "http"} {
		t.Run(name, func(t *testing.T) {
			c := remoteCaches[name](t)
			store := openRemote(t, c.url)
			upload(t, store, objects)
			args := []string{"cache", "repair", "--secret-key-file", key, "--paths", "-", "-j", "3", c.url}
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					cmd := exec.Command("narseal", args...)
					cmd.Stdin = strings.NewReader(list)
					cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%v\n%s", err, out)
					}
				})
			}
			wg.Go(func() {
				random := rand.New(rand.NewPCG(1, 2))
				for _, i := range random.Perm(3 * paths) {
					time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
					name := list[33*(i%paths):][:32] + ".narinfo"
					if err := addLine(t.Context(), store, name, fmt.Sprintf("X-Writer: %d\n", i)); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
			wg.Wait()
			checkRemote(t, c, list)
			if status, _, stderr := narseal(t, []byte(list), append(args, "-v")...); status != 0 {
				t.Errorf("status %d\n%s", status, stderr)
			}
			got := c.objects()
			for i := range 3 * paths {
				name := list[33*(i%paths):][:32] + ".narinfo"
				if !strings.Contains(got[name], fmt.Sprintf("\nX-Writer: %d\n", i)) {
					t.Errorf("%s: line %d is lost:\n%s", name, i, got[name])
				}
				if stale := i%paths%2 == 0; stale != strings.Contains(got[name], "\nSig: test-1:") {
					t.Errorf("%s: signed: %v\n%s", name, !stale, got[name])
				}
			}
			if status, stdout, stderr := narseal(t, []byte(list), "cache", "verify", "--paths", "-", c.url); status != 0 {
				t.Errorf("status %d\n%s%s", status, stdout, stderr)
			}
		})
	}
}

// addLine adds a line to a narinfo as a careful writer does.
func addLine(ctx context.Context, s binarycache.Store, name, line string) error {
	for {
		r, o, err := s.Open(ctx, name)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return err
		}
		text := string(b) + line
		o.Size = int64(len(text))
		if _, err = s.Put(ctx, o, strings.NewReader(text), binarycache.Condition{Version: o.Version}); !errors.Is(err, binarycache.ErrChanged) {
			return err
		}
	}
}
