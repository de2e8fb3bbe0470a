package nartest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// EachNix runs a test with the Nix on PATH, and with the one in each directory that NARSEAL_NIX lists (scripts/nix-versions).
// The test uses Nix by its programs' names only, or by this package.
func EachNix(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	for _, dir := range append([]string{""}, filepath.SplitList(os.Getenv("NARSEAL_NIX"))...) {
		name := "PATH"
		if dir != "" {
			name = filepath.Base(filepath.Dir(dir))
		}
		t.Run(name, func(t *testing.T) {
			if dir != "" {
				t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			}
			test(t)
		})
	}
}

// Version returns the version of the Nix on PATH, such as "2.34.8".
func Version(t testing.TB) string {
	t.Helper()
	cmd := exec.Command(Tool(t, "nix-store"), "--version")
	cmd.Env = append(os.Environ(), "NIX_CONFIG=build-users-group =")
	out, err := output(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(out))
	return words[len(words)-1]
}
