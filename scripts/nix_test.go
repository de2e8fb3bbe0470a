package scripts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
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
func TestNixParses(t *testing.T) { nartest.EachNix(t, testNixParses) }

func testNixParses(t *testing.T) {
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

// moduleLib defines what nix/module.nix uses of nixpkgs' library.
const moduleLib = `
	moduleLib = {
		mkEnableOption = text: { default = false; };
		mkOption = option: option;
		mkIf = condition: value: if condition then value else { };
		literalExpression = text: text;
		types = { package = "package"; str = "string"; nullOr = type: type; enum = values: values; };
		optionalString = cond: s: if cond then s else "";
		escapeShellArg = arg: "'${arg}'";
		makeBinPath = packages: builtins.concatStringsSep ":" (map (p: "${p}/bin") packages);
	};
`

// stubs stand for what the flake and the package use of nixpkgs.
const stubs = moduleLib + `
	lib = moduleLib // {
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
	nixpkgs = { inherit lib; legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] (_: pkgs); };
`

func TestFlakeEvaluates(t *testing.T) { nartest.EachNix(t, testFlakeEvaluates) }

func testFlakeEvaluates(t *testing.T) {
	store := nartest.Nix(t)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	expr := "let " + stubs + `
		outputs = (import ` + root + `/flake.nix).outputs { self.shortRev = "0123abc"; inherit nixpkgs; };
		overlay = outputs.overlays.default (pkgsOf (pkgs // overlay) // overlay) pkgs;
		options = module: builtins.attrNames (module { inherit lib pkgs; config = { }; }).options.programs.narseal;
	in {
		inherit (outputs) packages checks devShells;
		nixOS = options outputs.nixosModules.default;
		darwin = options outputs.darwinModules.default;
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
		Checks, DevShells map[string]any
		NixOS, Darwin     []string
		Overlay           struct {
			Narseal             string
			ReplaceDependencies map[string]bool
		}
	}
	out := store.Run(nil, "nix-instantiate", "--eval", "--strict", "--json", "--expr", expr)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if len(got.Packages) != 3 || len(got.Checks) != 3 || len(got.DevShells) != 3 {
		t.Errorf("packages for %d systems, checks for %d and shells for %d, want 3 each", len(got.Packages), len(got.Checks), len(got.DevShells))
	}
	if want := []string{"cache", "enable", "onActivation", "package"}; !slices.Equal(got.NixOS, want) || !slices.Equal(got.Darwin, want) {
		t.Errorf("the modules have the options %q and %q, want %q", got.NixOS, got.Darwin, want)
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

// TestFlakeLock compares the input that the flake names with the one that is locked.
func TestFlakeLock(t *testing.T) {
	flake, err := os.ReadFile("../flake.nix")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../flake.lock")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Version int
		Nodes   map[string]struct {
			Locked   struct{ Type, Owner, Repo, Rev, NarHash string }
			Original struct{ Type, Owner, Repo, Ref string }
		}
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	n := lock.Nodes["nixpkgs"]
	url := n.Original.Type + ":" + n.Original.Owner + "/" + n.Original.Repo + "/" + n.Original.Ref
	if !strings.Contains(string(flake), `inputs.nixpkgs.url = "`+url+`";`) {
		t.Errorf("flake.lock is of %s, flake.nix of another input", url)
	}
	if lock.Version != 7 || len(lock.Nodes) != 2 || len(n.Locked.Rev) != 40 || !strings.HasPrefix(n.Locked.NarHash, "sha256-") {
		t.Errorf("flake.lock: %+v", lock)
	}
}
