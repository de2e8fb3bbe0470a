package scripts

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

func TestVendorHash(t *testing.T) {
	bash := nartest.Tool(t, "bash")
	nartest.Tool(t, "nix")
	if out, err := exec.Command(bash, "vendor-hash", "--check").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// stubs stand for what of nixpkgs the flake and the package use.
const stubs = `
	lib = {
		cleanSource = toString;
		genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
		licenses.mit = "MIT";
		platforms.unix = [];
	};
	pkgs = {
		callPackage = file: args: import file ({ inherit lib; buildGoModule = args: args; } // args);
		mkShell = args: args;
		go = "go";
		nix = "nix";
		llvmPackages = { clang-unwrapped = "clang"; lld = "lld"; llvm = "llvm"; };
	};
	nixpkgs = { inherit lib; legacyPackages = lib.genAttrs [
		"x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin"
	] (_: pkgs); };
`

func TestFlakeEvaluates(t *testing.T) {
	store := nartest.Nix(t)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	expr := "let " + stubs + ` in (import ` + root + `/flake.nix).outputs { self.shortRev = "0123abc"; inherit nixpkgs; }`
	var got struct {
		Packages map[string]struct {
			Default struct {
				Pname, Version, Src string
				SubPackages         []string
				Ldflags             []string
				Meta                struct{ MainProgram string }
			}
		}
		DevShells map[string]any
	}
	out := store.Run(nil, "nix-instantiate", "--eval", "--strict", "--json", "--expr", expr)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if len(got.Packages) != 4 || len(got.DevShells) != 4 {
		t.Errorf("packages for %d systems and shells for %d, want 4 each", len(got.Packages), len(got.DevShells))
	}
	p := got.Packages["aarch64-darwin"].Default
	if p.Pname != "narseal" || p.Version != "0123abc" || p.Meta.MainProgram != "narseal" {
		t.Errorf("package: %+v", p)
	}
	if p.Src != root {
		t.Errorf("the source is %q, want %q", p.Src, root)
	}
	if flags := strings.Join(p.Ldflags, " "); !strings.Contains(flags, "-X main.version=0123abc") {
		t.Errorf("ldflags %q stamp no version", flags)
	}
}
