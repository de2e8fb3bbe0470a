# nixpkgs' replaceDependencies with narseal in place of sed: the code signatures of
# Mach-O binaries stay valid, and archives stay sorted.
#
#   replaceDependencies = pkgs.callPackage ./nix/replace-dependencies.nix {
#     narseal = pkgs.callPackage ./nix/package.nix { };
#   };
#   patched = replaceDependencies {
#     drv = pkgs.firefox;
#     replacements = [ { oldDependency = pkgs.glibc; newDependency = patchedGlibc; } ];
#   };
#
# Only the new dependencies are built. Every path in the closure of drv that refers to an
# old one is copied, with the new path in its place. An old dependency and its new one
# need names of the same length. narseal stops the build at a binary that it cannot
# repair, such as one that is signed by a certificate: see narsealFlags.
{
  lib,
  runCommandLocal,
  nix,
  narseal,
}:

{
  drv,
  # { oldDependency, newDependency }; they apply in the closures of the new dependencies, too
  replacements,
  # packages that stay as they are, with everything that only they refer to
  cutoffPackages ? [ ],
  # warn of replacements that replace nothing
  verbose ? true,
  # more options of `narseal rewrite`, such as [ "--on-cms" "adhoc" ]
  narsealFlags ? [ ],
}:

let
  inherit (builtins)
    appendContext
    concatLists
    concatStringsSep
    elem
    filter
    genList
    genericClosure
    length
    listToAttrs
    map
    mapAttrs
    readFile
    stringLength
    substring
    trace
    unsafeDiscardStringContext
    ;

  message = text: "replaceDependencies: ${text}";
  warn = text: value: if verbose then trace (message text) value else value;

  # The store path of a package, without a context. The path of a floating content-addressed
  # derivation is known only after the build.
  pathOf =
    package:
    if dirOf (toString package) == builtins.storeDir then
      unsafeDiscardStringContext (toString package)
    else
      unsafeDiscardStringContext (
        readFile (runCommandLocal "path" { inherit package; } ''printf %s "$package" >"$out"'')
      );

  root = pathOf drv;

  wanted = filter (
    { old, new }:
    if old == new then
      warn "${old} is to be replaced by itself" false
    else if stringLength old != stringLength new then
      throw (message "the names of ${old} and ${new} differ in length")
    else
      true
  ) (map (r: { old = pathOf r.oldDependency; new = pathOf r.newDependency; }) replacements);

  # What each path in the closures of drv and of the new dependencies refers to.
  references =
    let
      roots = [ drv ] ++ map (r: r.newDependency) replacements;
      graph = i: "graph-${toString i}";
    in
    import (
      runCommandLocal "references.nix"
        {
          exportReferencesGraph = concatLists (
            genList (i: [
              (graph i)
              (builtins.elemAt roots i)
            ]) (length roots)
          );
          graphs = genList graph (length roots);
        }
        # A record of a graph has one line each for a path, its deriver, the number of its
        # references, and each reference. A path may be in several graphs.
        ''
          for graph in $graphs; do
            while read -r path; do
              read -r deriver
              read -r count
              printf '"%s" = [' "$path"
              while [ "$count" -gt 0 ]; do
                read -r reference
                printf ' "%s"' "$reference"
                count=$((count - 1))
              done
              printf ' ];\n'
            done <"$graph"
          done | sort -u >records
          { echo {; cat records; echo }; } >"$out"
        ''
    );

  applied = filter (
    { old, new }:
    if !(references ? ${old}) then
      warn "nothing refers to ${old}" false
    else if elem old (closure new) then
      throw (message "${new} refers to ${old}, which it is to replace")
    else
      true
  ) wanted;

  closure =
    path:
    map (x: x.key) (genericClosure {
      startSet = [ { key = path; } ];
      operator = x: map (key: { inherit key; }) references.${x.key};
    });

  # builtins.storePath does not work in pure evaluation.
  unchanged = path: appendContext path { ${path}.path = true; };

  copy =
    path: changes:
    let
      base = baseNameOf path;
    in
    runCommandLocal (substring 33 (stringLength base) base)
      {
        src = unchanged path;
        rules = concatStringsSep "" (map (old: "${old}=${result.${old}}\n") changes);
        # A rule that matches nothing would be a warning in the build's log.
        self = elem path references.${path};
        passAsFile = [ "rules" ];
      }
      # A hash without its name is replaced, too, because it makes Nix keep the path.
      # --spool, because a renamed entry may move within its directory.
      ''
        set -o pipefail
        { cat "$rulesPath"; [ -z "$self" ] || echo "$src=$out"; } |
          while IFS='=' read -r old new; do
            echo "$old=$new"
            old=''${old##*/} new=''${new##*/}
            echo "''${old%%-*}=''${new%%-*}"
          done >rules
        ${nix}/bin/nix-store --dump "$src" |
          ${narseal}/bin/narseal rewrite --spool --map-file rules ${lib.escapeShellArgs narsealFlags} |
          ${nix}/bin/nix-store --restore "$out"
      '';

  # What each path becomes. A replacement takes precedence over a cutoff, and a cutoff over a copy.
  result =
    mapAttrs (
      path: refs:
      let
        changes = filter (ref: ref != path && toString result.${ref} != ref) refs;
      in
      if changes == [ ] then unchanged path else copy path changes
    ) references
    // listToAttrs (
      map (
        package:
        let
          name = pathOf package;
        in
        {
          inherit name;
          value = unchanged name;
        }
      ) cutoffPackages
    )
    // listToAttrs (
      map ({ old, new }: {
        name = old;
        value = result.${new};
      }) applied
    );
in
if toString result.${root} == root then drv else result.${root}
