{
  lib,
  stdenv,
  buildGoModule,
  installShellFiles,
  version ? "unstable",
}:

buildGoModule {
  pname = "narseal";
  inherit version;

  src = lib.cleanSource ../.;

  # scripts/vendor-hash --write
  vendorHash = "sha256-+vVB4qpDWATtbobzknGXgrVsbOUYm7QMV9OEDSsjigY=";

  subPackages = [ "cmd/narseal" ];
  env.CGO_ENABLED = 0;
  ldflags = [
    "-s"
    "-w"
    "-X main.version=${version}"
  ];

  nativeBuildInputs = [ installShellFiles ];
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/narseal man .
    installManPage *.1
    installShellCompletion --cmd narseal \
      --bash <($out/bin/narseal completion bash) \
      --zsh <($out/bin/narseal completion zsh) \
      --fish <($out/bin/narseal completion fish)
  '';

  meta = {
    description = "Rewrites store hashes in NARs and reseals the Mach-O code signatures";
    license = lib.licenses.mit;
    mainProgram = "narseal";
    platforms = lib.platforms.linux ++ lib.platforms.darwin;
  };
}
