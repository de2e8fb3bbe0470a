package scripts

import (
	"os/exec"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// TestDemo runs the demonstration, which checks by itself that its commands end as
// they should, and that the result is the archive that was built for the new path.
func TestDemo(t *testing.T) {
	nartest.Tool(t, "go")
	out, err := exec.Command(nartest.Tool(t, "bash"), "demo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"stale        arm64", "2 signatures resealed", "every signature is valid"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}
