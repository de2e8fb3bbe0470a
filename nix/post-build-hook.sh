#!/bin/sh
# A post-build hook for Nix. It copies what was built to a cache, with all that it refers to, if all
# signatures in these paths are valid, and names it in the build's log if not. In nix.conf of the
# machine that builds:
#
#   post-build-hook = /path/to/post-build-hook.sh
#
# and in the environment of nix-daemon:
#
#   NARSEAL_CACHE  where to copy to, such as file:///srv/cache or s3://bucket
#
# On NixOS and nix-darwin, module.nix does both.
#
# Nix waits for the hook, and starts no further builds when the hook fails. So an invalid
# signature is no failure here: the hook succeeds and does not copy the path.
set -eu
: "${NARSEAL_CACHE:?is not set}"
: "${OUT_PATHS:=$(nix-store --query --outputs "$DRV_PATH")}" # Nix 2.8.0 leaves it empty
: "${OUT_PATHS:?is not set}"

status=0
# nix copy copies the closure, so a dependency counts as much as the path itself.
# shellcheck disable=SC2086 # one word per path
narseal store verify --closure -- $OUT_PATHS >&2 || status=$?
case $status in
0) ;;
3)
	echo "not copied to $NARSEAL_CACHE: $OUT_PATHS" >&2
	exit 0
	;;
*) exit "$status" ;;
esac
# shellcheck disable=SC2086
exec nix --extra-experimental-features nix-command copy --to "$NARSEAL_CACHE" $OUT_PATHS
