package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCIHookRights runs nix/ci-hook.sh with NARSEAL_REPAIR=1. It becomes root only if the user cannot write to Nix's database:
// what root puts into a user's own store, that user cannot remove any more.
func TestCIHookRights(t *testing.T) {
	hook, err := filepath.Abs("../nix/ci-hook.sh")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, text := range map[string]string{
		"id":      "echo ${TEST_UID}",
		"sudo":    `[ "$1" != -n ] || exit ${TEST_SUDO}; export ROOT=1; exec "$@"`,
		"narseal": "echo ${ROOT:+root }$1 $2",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own := t.TempDir()
	if err := os.Mkdir(filepath.Join(own, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ what, uid, sudo, state, want string }{
		{"the owner of a store", "1000", "0", own, "store repair"},
		{"a user of a daemon", "1000", "0", filepath.Join(own, "absent"), "root store repair"},
		{"a user that sudo asks for a password", "1000", "1", filepath.Join(own, "absent"), "store repair"},
		{"root", "0", "0", own, "store repair"},
	} {
		cmd := exec.Command("/bin/sh", hook, "./result")
		cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "NARSEAL_REPAIR=1", "NIX_STATE_DIR=" + test.state, "TEST_UID=" + test.uid, "TEST_SUDO=" + test.sudo}
		out, err := cmd.CombinedOutput()
		if got, _, _ := strings.Cut(string(out), "\n"); err != nil || got != test.want {
			t.Errorf("%s: %v, %s", test.what, err, out)
		}
	}
}
