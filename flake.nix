{
  description = "Rewrites store hashes in NARs and repairs the Mach-O code signatures";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";

  outputs =
    { self, nixpkgs }:
    let
      version = self.shortRev or "dirty";
      # nixpkgs has no x86_64-darwin any more. With an older nixpkgs, nix/package.nix builds there.
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];
      forEach = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: {
        default = pkgs.callPackage ./nix/package.nix { inherit version; };
      });

      # What `nix flake check` builds.
      checks = forEach (pkgs: {
        package = pkgs.callPackage ./nix/package.nix { inherit version; };
      });

      # Adds narseal to nixpkgs, and replaces its replaceDependencies.
      overlays.default = final: _: {
        narseal = final.callPackage ./nix/package.nix { inherit version; };
        replaceDependencies = final.callPackage ./nix/replace-dependencies.nix { };
      };

      # One module serves both.
      nixosModules.default = import ./nix/module.nix;
      darwinModules.default = import ./nix/module.nix;

      # The programs that scripts/test needs.
      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.go
            pkgs.nix
            pkgs.llvmPackages.clang-unwrapped
            pkgs.llvmPackages.lld
            pkgs.llvmPackages.llvm
            pkgs.zsh
            pkgs.fish
            pkgs.mandoc
          ]
          ++ pkgs.lib.optional pkgs.stdenv.hostPlatform.isLinux pkgs.qemu-user;
        };
      });
    };
}
