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
  vendorHash = "sha256-okgJDrgUXjAzWnoov+Dy+X23frdZ5ppZAAzY9fboVF0=";

  subPackages = [ "cmd/narseal" ];
  env.CGO_ENABLED = 0;
  tags = [ "urfave_cli_no_docs" ]; # see scripts/release
  ldflags = [
    "-s"
    "-w"
    "-X main.version=${version}"
  ];

  # The tests need Nix, compilers and the module cache. scripts/test runs them.
  doCheck = false;

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
    description = "Rewrites store hashes in NARs and repairs the Mach-O code signatures";
    license = lib.licenses.mit;
    mainProgram = "narseal";
    platforms = lib.platforms.linux ++ lib.platforms.darwin;
  };
}
