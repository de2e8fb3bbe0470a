{
  lib,
  buildGoModule,
  version ? "unstable",
}:

buildGoModule {
  pname = "narseal";
  inherit version;

  src = lib.cleanSource ../.;

  # scripts/vendor-hash --write
  vendorHash = "sha256-UMzu8uN84N92lpO6vqRo9TpA6D3xAfsWSgjiYWBGTAU=";

  subPackages = [ "cmd/narseal" ];
  env.CGO_ENABLED = 0;
  ldflags = [
    "-s"
    "-w"
    "-X main.version=${version}"
  ];

  meta = {
    description = "Rewrites store hashes in NARs and reseals the Mach-O code signatures";
    license = lib.licenses.mit;
    mainProgram = "narseal";
    platforms = lib.platforms.unix;
  };
}
