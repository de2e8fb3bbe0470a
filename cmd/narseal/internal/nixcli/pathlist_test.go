package nixcli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"narseal/filter/spill"
)

func openTemp(t *testing.T) func() (spill.File, error) {
	dir := t.TempDir()
	return func() (spill.File, error) { return os.CreateTemp(dir, "") }
}

func testPath(i int) Path {
	return Path{Base: fmt.Sprintf("%032d-package", i), NarHash: [32]byte{byte(i), byte(i >> 8), 31: 1}, NarSize: int64(i) << 20}
}

// A list gives back what was added, several times, whether it is in memory or in a file.
func TestPathList(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 100_000} {
		l := NewPathList(openTemp(t))
		for i := range n {
			p := testPath(i)
			if err := l.Add(&p); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			i := 0
			if err := l.Each(func(p *Path) error {
				if want := testPath(i); p.Base != want.Base || p.NarHash != want.NarHash || p.NarSize != want.NarSize {
					t.Fatalf("%d: %+v, want %+v", i, p, want)
				}
				i++
				return nil
			}); err != nil || i != n || l.Len() != n {
				t.Fatalf("%d of %d: %v", i, n, err)
			}
		}
		if n == 100_000 && (!l.records.Spilled() || l.records.Memory() > listMemory) {
			t.Errorf("%d bytes are in memory", l.records.Memory())
		}
		stop := errors.New("stop")
		if err := l.Each(func(*Path) error { return stop }); n > 0 && err != stop {
			t.Error(err)
		}
		l.Close()
	}
	full := errors.New("no space left")
	l := NewPathList(func() (spill.File, error) { return nil, full })
	var err error
	for i := 0; i < 100_000 && err == nil; i++ {
		p := testPath(i)
		err = l.Add(&p)
	}
	if !errors.Is(err, full) {
		t.Errorf("without a file: %v", err)
	}
}

// The memory for the paths of a store does not grow with their number.
func TestManyPaths(t *testing.T) {
	const n = 150_000
	bin := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
exec awk 'BEGIN { for (i = 0; i < %d; i++) {
	printf "/nix/store/%%032d-a-package-with-a-name-1.2.3\n%%064d\n112\n/nix/store/%%032d-x.drv\n1\n/nix/store/%%032d-y\n", i, i, i, i } }'
`, n)
	if err := os.WriteFile(filepath.Join(bin, "nix-store"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("NIX_REMOTE", "local")
	s, err := Open(context.Background(), Options{Environ: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	l := NewPathList(openTemp(t))
	defer l.Close()
	before := heap()
	if err := s.All(context.Background(), l.Add); err != nil {
		t.Fatal(err)
	}
	if grown := heap() - before; l.Len() != n || grown > 2*listMemory {
		t.Errorf("%d of %d paths take %d bytes of memory, want at most %d", l.Len(), n, grown, 2*listMemory)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
