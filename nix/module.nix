# A module for NixOS and nix-darwin. It installs narseal. On request it copies each build to a
# cache, if all signatures in its closure are valid, and verifies or repairs the system when it is activated:
#
#   imports = [ ./nix/module.nix ];      # or narseal.nixosModules.default, narseal.darwinModules.default
#   programs.narseal.enable = true;
#   programs.narseal.cache = "s3://my-cache";
#   programs.narseal.onActivation = "repair";
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

  # Both systems call their activation with systemConfig, as root. Nothing in here ends it. A Nix that
  # the system does not manage is found where its installer puts it.
  activation = ''
    (
      export PATH=${cfg.package}/bin:${
        lib.optionalString (config.nix.enable or true) "${config.nix.package}/bin:"
      }$PATH
      export NIX_REMOTE=
      narseal_status=0
      ${lib.optionalString (cfg.onActivation == "repair") ''
        narseal store repair --closure -- "$systemConfig" || narseal_status=$?
      ''}
      ${lib.optionalString (cfg.onActivation == "verify") ''
        narseal store verify --closure -- "$systemConfig" || narseal_status=$?
      ''}
      case $narseal_status in
      0) ;;
      3) echo "narseal: code signatures of this system are invalid; the programs above may not run" >&2 ;;
      *) echo "narseal: the code signatures of this system could not be checked" >&2 ;;
      esac
    )
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
        Where Nix copies each build with its closure, unless a signature in that is invalid. Nix runs
        the copy as root, with root's credentials.
      '';
    };

    onActivation = lib.mkOption {
      type = lib.types.enum [
        "nothing"
        "verify"
        "repair"
      ];
      default = "nothing";
      description = ''
        What happens to the code signatures of the system and all that it refers to, each time it is
        activated. "verify" lists those that are invalid. "repair" repairs them, in the store and in
        Nix's database. The activation goes on, whatever is found.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    nix.settings = lib.mkIf (cfg.cache != null) { post-build-hook = "${hook}"; };
    # Of scripts that are not its own, nix-darwin runs those of three names; this one comes before anything of
    # the system is started. NixOS runs all.
    system.activationScripts = lib.mkIf (cfg.onActivation != "nothing") { extraActivation.text = activation; };
  };
}
