package scripts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// systems builds a system that refers to an application whose binary is broken, and one that is not.
func (b *builds) systems() (broken, good string) {
	b.t.Helper()
	return b.mustBuild(`runCommandLocal "system" { } "echo ${runCommandLocal "broken" { } "sed s/aaaaaa/bbbbbb/ ${goldens}/lld-arm64 >$out"} >$out"`),
		b.mustBuild(`runCommandLocal "system" { } "echo ${app} >$out"`)
}

// The activation of the module verifies or repairs the closure of the system, and goes on whatever it finds.
func TestActivation(t *testing.T) {
	b := newBuilds(t)
	broken, good := b.systems()
	module, err := filepath.Abs("../nix/module.nix")
	if err != nil {
		t.Fatal(err)
	}
	activate := func(what, nix, system string) string {
		t.Helper()
		text, stderr, err := b.run("nix-instantiate", "--eval", "--strict", "--json", "--expr", "let "+b.stubs+`
			in (import `+module+` {
				config = { `+nix+` programs.narseal = { enable = true; cache = null; package = narseal; onActivation = "`+what+`"; }; };
				lib = lib // moduleLib;
				pkgs = { };
			}).config.system.activationScripts.extraActivation.text or ""`)
		if err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		var script string
		if err := json.Unmarshal([]byte(text), &script); err != nil {
			t.Fatal(err)
		}
		// As nix-darwin does.
		cmd := exec.Command("bash", "-c", "set -e; set -o pipefail; systemConfig="+system+"\n"+script+"\necho went on")
		cmd.Env = b.env
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "went on\n") {
			t.Errorf("%s of %s: %v: %s", what, system, err, out)
		}
		return string(out)
	}
	managed := "nix.package = nix;"
	if out := activate("nothing", managed, broken); out != "went on\n" {
		t.Errorf("nothing: %s", out)
	}
	if out := activate("verify", managed, good); strings.Contains(out, "narseal: ") {
		t.Errorf("verify, of a good system: %s", out)
	}
	if out := activate("verify", managed, broken); !strings.Contains(out, "code signatures of this system are invalid") || !strings.Contains(out, "-broken") {
		t.Errorf("verify: %s", out)
	}
	if out := activate("verify", `nix.enable = false; nix.package = throw "not managed";`, broken); !strings.Contains(out, "-broken") {
		t.Errorf("verify, with a Nix that the system does not manage: %s", out)
	}
	if out := activate("verify", managed, broken+"x"); !strings.Contains(out, "could not be checked") {
		t.Errorf("verify, of a system that is not there: %s", out)
	}
	if out := activate("repair", managed, broken); !strings.Contains(out, "-broken") || strings.Contains(out, "narseal: code signatures") {
		t.Errorf("repair: %s", out)
	}
	if out := activate("verify", managed, broken); strings.Contains(out, "-broken") {
		t.Errorf("verify, after the repair: %s", out)
	}
	if _, stderr, err := b.run("nix-store", "--verify", "--check-contents"); err != nil {
		t.Errorf("%v: %s", err, stderr)
	}
}

// The hook for CI ends with 3 at an invalid signature, and if it is told to, repairs it before.
func TestCIHook(t *testing.T) {
	b := newBuilds(t)
	broken, good := b.systems()
	work := t.TempDir()
	if err := os.Symlink(broken, filepath.Join(work, "result")); err != nil {
		t.Fatal(err)
	}
	hook, err := filepath.Abs("../nix/ci-hook.sh")
	if err != nil {
		t.Fatal(err)
	}
	run := func(env []string, args ...string) (int, string) {
		t.Helper()
		cmd := exec.Command(hook, args...)
		cmd.Dir = work
		cmd.Env = append(append(b.env, "PATH="+filepath.Join(b.dir, "bin")+":"+os.Getenv("PATH"), "GITHUB_STEP_SUMMARY="), env...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	if status, out := run(nil, good); status != 0 {
		t.Errorf("a good closure: %d, %s", status, out)
	}
	if status, out := run([]string{"GITHUB_ACTIONS=true"}); status != 3 || !strings.Contains(out, "::error file=") || !strings.Contains(out, "-broken") {
		t.Errorf("./result, in GitHub Actions: %d, %s", status, out)
	}
	if status, out := run(nil, "./no-such-result"); status != 1 {
		t.Errorf("what was not built: %d, %s", status, out)
	}
	if status, out := run([]string{"NARSEAL_REPAIR=1"}); status != 0 || !strings.Contains(out, "-broken\n") {
		t.Errorf("with a repair: %d, %s", status, out)
	}
	if status, out := run(nil); status != 0 {
		t.Errorf("after the repair: %d, %s", status, out)
	}
}
