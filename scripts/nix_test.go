package scripts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
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

// TestNixParses has Nix read every expression, those that no other test evaluates too.
func TestNixParses(t *testing.T) {
	nixInstantiate := nartest.Tool(t, "nix-instantiate")
	files, err := filepath.Glob("../nix/*.nix")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range append(files, "../flake.nix") {
		cmd := exec.Command(nixInstantiate, "--parse", file)
		cmd.Env = append(os.Environ(), "NIX_STATE_DIR="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// stubs stand for what of nixpkgs the flake and the package use.
const stubs = `
	lib = {
		cleanSource = toString;
		genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
		licenses.mit = "MIT";
		optional = cond: x: if cond then [ x ] else [];
		optionalString = cond: s: if cond then s else "";
		platforms = { linux = []; darwin = []; };
	};
	pkgsOf = final: {
		inherit lib;
		callPackage = file: args: let f = import file; in f (builtins.intersectAttrs (builtins.functionArgs f) final // args);
		buildGoModule = args: args;
		runCommandLocal = name: env: script: throw "nothing is built here";
		mkShell = args: args;
		stdenv = { buildPlatform.canExecute = _: true; hostPlatform.isLinux = true; };
		installShellFiles = "installShellFiles";
		go = "go";
		zsh = "zsh";
		fish = "fish";
		mandoc = "mandoc";
		qemu-user = "qemu-user";
		nix = "nix";
		llvmPackages = { clang-unwrapped = "clang"; lld = "lld"; llvm = "llvm"; };
	};
	pkgs = pkgsOf pkgs;
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
	expr := "let " + stubs + `
		outputs = (import ` + root + `/flake.nix).outputs { self.shortRev = "0123abc"; inherit nixpkgs; };
		overlay = outputs.overlays.default (pkgsOf (pkgs // overlay) // overlay) pkgs;
	in {
		inherit (outputs) packages devShells;
		overlay = builtins.mapAttrs (_: v: v.version or (builtins.functionArgs v)) overlay;
	}`
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
		Overlay   struct {
			Narseal             string
			ReplaceDependencies map[string]bool
		}
	}
	out := store.Run(nil, "nix-instantiate", "--eval", "--strict", "--json", "--expr", expr)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if len(got.Packages) != 4 || len(got.DevShells) != 4 {
		t.Errorf("packages for %d systems and shells for %d, want 4 each", len(got.Packages), len(got.DevShells))
	}
	if got.Overlay.Narseal != "0123abc" || !reflect.DeepEqual(got.Overlay.ReplaceDependencies, map[string]bool{
		"drv": false, "replacements": false, "cutoffPackages": true, "verbose": true, "narsealFlags": true,
	}) {
		t.Errorf("overlay: %+v", got.Overlay)
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
