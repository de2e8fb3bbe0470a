package scripts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// flakeStub is a flake in place of nixpkgs. Its packages are derivations that nobody builds.
const flakeStub = `{
	outputs = _: let
		lib = {
			genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
			optional = condition: x: if condition then [ x ] else [ ];
		};
		packages = system: let
			stub = name: derivation { inherit name system; builder = "/bin/sh"; };
		in {
			inherit lib;
			stdenv.hostPlatform.isLinux = true;
			callPackage = file: _: builtins.seq (import file) (stub "package");
			mkShell = shell: builtins.deepSeq shell.packages (stub "shell");
			llvmPackages = { clang-unwrapped = stub "clang"; lld = stub "lld"; llvm = stub "llvm"; };
		} // lib.genAttrs [ "go" "nix" "zsh" "fish" "mandoc" "qemu-user" ] stub;
	in {
		inherit lib;
		legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] packages;
	};
}`

// TestNixFlakeCheck has each Nix check the flake and show its outputs, without network and without a build.
func TestNixFlakeCheck(t *testing.T) { nartest.EachNix(t, testFlakeCheck) }

func testFlakeCheck(t *testing.T) {
	store := nartest.Nix(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	flake, nixpkgs := filepath.Join(dir, "flake"), filepath.Join(dir, "nixpkgs")
	if err := os.CopyFS(filepath.Join(flake, "nix"), os.DirFS("../nix")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(nixpkgs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"flake.nix", "flake.lock"} {
		b, err := os.ReadFile("../" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(flake, name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(nixpkgs, "flake.nix"), []byte(flakeStub), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"--offline", "--no-write-lock-file", "--override-input", "nixpkgs", "path:" + nixpkgs, "path:" + flake}
	store.Run(nil, "nix", append([]string{"flake", "check", "--no-build"}, args...)...)
	shown := string(store.Run(nil, "nix", append([]string{"flake", "show", "--json"}, args...)...))
	for _, want := range []string{"aarch64-darwin", "devShells", "nixosModules", "darwinModules", "overlays"} {
		if !strings.Contains(shown, `"`+want+`"`) {
			t.Errorf("nix flake show does not list %s: %s", want, shown)
		}
	}
}
