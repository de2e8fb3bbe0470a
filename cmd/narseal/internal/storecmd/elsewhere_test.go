package storecmd

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"narseal/cmd/narseal/internal/nixcli"
)

// The directories of other stores are found among any number of names.
func TestOthersAmongMany(t *testing.T) {
	s := &nixcli.Store{Dir: "/s", RealDir: t.TempDir(), StateDir: t.TempDir()}
	dir := t.TempDir()
	want := map[string]string{}
	for i := range 3*namesAtOnce + 1 {
		staged := filepath.Join(dir, fmt.Sprint("store-", i))
		names := []string{staged, filepath.Join(dir, fmt.Sprint("other-", i), base)}
		if i%namesAtOnce == 0 {
			names = append(names, filepath.Join(staged, base))
			want[staged] = base
		}
		for _, name := range names {
			if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(s.RealDir, base), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	others(dir, s, func(other, base string) { got[other] += base })
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("found %v, want %v", got, want)
	}
	if !isUsed(dir, s) {
		t.Error("the directory counts as empty")
	}
	if err := os.Remove(filepath.Join(s.RealDir, base)); err != nil {
		t.Fatal(err)
	}
	if isUsed(dir, s) {
		t.Error("a path that this store does not have counts")
	}
}
