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
  vendorHash = "sha256-fSk5G9/+L0BGtbiMdjS42ztdyVnBYIA8f9xYBF56nPI=";

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
