{
  description = "Rewrites store hashes in NARs and reseals the Mach-O code signatures";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";

  outputs =
    { self, nixpkgs }:
    let
      version = self.shortRev or "dirty";
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forEach = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: {
        default = pkgs.callPackage ./nix/package.nix { inherit version; };
      });

      # nixpkgs with narseal, and with its replaceDependencies.
      overlays.default = final: _: {
        narseal = final.callPackage ./nix/package.nix { inherit version; };
        replaceDependencies = final.callPackage ./nix/replace-dependencies.nix { };
      };

      # What scripts/test needs.
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
