package scripts

import (
	"os/exec"
	"testing"
)

// No package, file or function is larger than scripts/rooms allows.
func TestRooms(t *testing.T) {
	cmd := exec.Command("go", "run", "./scripts/rooms", "-quiet")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
