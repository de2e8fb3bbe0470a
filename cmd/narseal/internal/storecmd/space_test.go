package storecmd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func testSpace(free room) *space {
	s := newSpace("")
	s.stat = func() (room, uint64, error) { return free, 4096, nil }
	return s
}

// Jobs reserve what they are going to write: two that fit one after the other do not count on the same free space.
func TestSpaceIsReserved(t *testing.T) {
	ctx := context.Background()
	s := testSpace(room{100, 10})
	want := func(r room) func(uint64) room { return func(uint64) room { return r } }
	release, err := s.reserve(ctx, false, want(room{60, 1}))
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.reserve(cancelled, false, want(room{60, 1})); !errors.Is(err, context.Canceled) {
			t.Errorf("what fits later only: %v", err)
		}
	})
	small, err := s.reserve(ctx, false, want(room{40, 1}))
	if err != nil {
		t.Errorf("what fits: %v", err)
	}
	small()
	cancel()
	wg.Wait()
	var second func()
	wg.Go(func() {
		if second, err = s.reserve(ctx, false, want(room{60, 10})); err != nil {
			t.Errorf("what fits when the other job is done: %v", err)
		}
	})
	release()
	wg.Wait()
	second()
	for what, r := range map[string]room{"bytes": {101, 1}, "inodes": {1, 11}} {
		if _, err := s.reserve(ctx, false, want(r)); err == nil || !strings.Contains(err.Error(), what+" free") {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Who must try does so alone.
	alone, err := s.reserve(ctx, true, want(room{101, 1}))
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel = context.WithCancel(ctx)
	wg.Go(func() {
		if _, err := s.reserve(cancelled, true, want(room{1, 1})); !errors.Is(err, context.Canceled) {
			t.Errorf("beside one who has not enough: %v", err)
		}
	})
	cancel()
	wg.Wait()
	alone()
	if release, err = s.reserve(ctx, false, want(room{100, 10})); err != nil {
		t.Error(err)
	}
	release()
	if s.reserved != (room{}) || s.holders != 0 {
		t.Errorf("left: %+v", s.reserved)
	}
}

// Small files take more of a disk than of an archive.
func TestSpaceOfContents(t *testing.T) {
	dir := t.TempDir()
	const files = 500
	narSize := int64(0)
	for i := range files {
		text := strconv.Itoa(i)
		if err := os.WriteFile(filepath.Join(dir, text), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		narSize += 208 // whatever its name and contents of up to 8 bytes are
	}
	used := uint64(0)
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &st)
		}
		used += uint64(st.Blocks) * 512
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_, block, err := newSpace(dir).stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, entries := range []int64{files + 1, 0} {
		if got := contents(narSize, entries, block); got.bytes-spareBytes < used || got.inodes <= files {
			t.Errorf("%d entries: room for %d bytes and %d inodes, used are %d and %d", entries, got.bytes, got.inodes, used, files+1)
		}
	}
}
