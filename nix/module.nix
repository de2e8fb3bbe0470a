# A module for NixOS and nix-darwin. It installs narseal, and on request copies each build to
# a cache, if all of its signatures are valid:
#
#   imports = [ ./nix/module.nix ];      # or narseal.nixosModules.default, narseal.darwinModules.default
#   programs.narseal.enable = true;
#   programs.narseal.cache = "s3://my-cache";
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.programs.narseal;

  hook = pkgs.writeShellScript "narseal-post-build-hook" ''
    export NARSEAL_CACHE=${lib.escapeShellArg cfg.cache}
    export PATH=${
      lib.makeBinPath [
        cfg.package
        config.nix.package
      ]
    }:$PATH
    exec ${pkgs.runtimeShell} ${./post-build-hook.sh}
  '';
in
{
  options.programs.narseal = {
    enable = lib.mkEnableOption "narseal, which repairs code signatures in Nix archives";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The narseal to use.";
    };

    cache = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "s3://my-cache";
      description = ''
        Where Nix copies each build, unless a signature in it is invalid. Nix runs the copy as
        root, with root's credentials.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    nix.settings = lib.mkIf (cfg.cache != null) { post-build-hook = "${hook}"; };
  };
}
