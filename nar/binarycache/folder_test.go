package binarycache_test

import (
	"os"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/folder"
	"narseal/nar/binarycache/state"
)

func TestOneRunAtATime(t *testing.T) {
	dir, states := newCache(t, member{base: hash("a") + "-a", nar: nar("broken")}), t.TempDir()
	s, err := state.Open(states, dir, "work")
	if err != nil {
		t.Fatal(err)
	}
	for _, work := range []string{"work", "other work"} {
		if _, err := state.Open(states, dir, work); err == nil || !strings.Contains(err.Error(), "another run") {
			t.Errorf("second: %v", err)
		}
	}
	if other, err := state.Open(states, dir+"2", "work"); err != nil || other.Close() != nil {
		t.Errorf("another cache: %v", err)
	}
	// Reading goes on.
	if sum, err := binarycache.Verify(t.Context(), folder.New(dir), binarycache.VerifyOptions{}); err != nil || sum.Paths[binarycache.Verified] != 1 {
		t.Errorf("verify: %+v, %v", sum, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(states); err != nil || len(left) > 0 {
		t.Errorf("after release: %v, %v", left, err)
	}
	if s, err = state.Open(states, dir, "work"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
