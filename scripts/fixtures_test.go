package scripts

import (
	"bytes"
	"os/exec"
	"testing"

	"narseal/nar/nartest"
)

// The committed fixtures are what their sources give, where the versions of the
// compiler and linker that made them are here.
func TestFixtures(t *testing.T) {
	if testing.Short() {
		t.Skip("links a dozen binaries")
	}
	bash := nartest.Tool(t, "bash")
	nartest.Tool(t, "nix-store")
	nartest.Tool(t, "ld64.lld", "ld64.lld-14")
	for _, tool := range []string{"clang", "llvm-mc", "llvm-objcopy", "llvm-lipo"} {
		nartest.Tool(t, tool, tool+"-14")
	}
	out, err := exec.Command(bash, "fixtures", "--check").CombinedOutput()
	t.Logf("%s", bytes.TrimSpace(out))
	if err != nil {
		t.Error(err)
	}
}
