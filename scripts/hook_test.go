package scripts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPostBuildHook builds with the hook: what holds comes into the cache, what does not
// stays away, and both builds succeed.
func TestPostBuildHook(t *testing.T) {
	b := newBuilds(t)
	hook, err := filepath.Abs("../nix/post-build-hook.sh")
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(b.dir, "cache")
	b.env = append(b.env,
		"NARSEAL_CACHE=file://"+cache,
		"PATH="+filepath.Join(b.dir, "bin")+":"+os.Getenv("PATH"))
	good, stderr, err := b.build("app", "--option", "post-build-hook", hook)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	broken, stderr, err := b.build(`runCommandLocal "broken" { } "sed s/aaaaaa/bbbbbb/ ${goldens}/lld-arm64 >$out"`,
		"--option", "post-build-hook", hook)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	if !strings.Contains(stderr, "not copied to file://"+cache+": "+broken) {
		t.Errorf("the log of a binary that is broken: %s", stderr)
	}
	for path, want := range map[string]bool{good: true, broken: false} {
		_, err := os.Stat(filepath.Join(cache, filepath.Base(path)[:32]+".narinfo"))
		if there := err == nil; there != want {
			t.Errorf("%s is in the cache: %v, want %v", path, there, want)
		}
	}
}
