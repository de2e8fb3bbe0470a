#!/bin/sh
# A post-build hook for Nix: what was built is copied to a cache if all of its signatures
# hold, and else is named in the build's log. In nix.conf, of the machine that builds:
#
#   post-build-hook = /path/to/post-build-hook.sh
#
# and in the environment of nix-daemon:
#
#   NARSEAL_CACHE  where to copy to, such as file:///srv/cache or s3://bucket
#
# Nix waits for the hook, and starts no further builds when it fails. So a signature that does
# not hold is no failure here: the path just stays away from the cache.
set -eu
: "${NARSEAL_CACHE:?is not set}"
: "${OUT_PATHS:=$(nix-store --query --outputs "$DRV_PATH")}" # Nix 2.8.0 leaves it empty

status=0
# A stream that nix-store does not finish is an error for narseal.
# shellcheck disable=SC2086 # a word a path
nix-store --export $OUT_PATHS | narseal verify >&2 || status=$?
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
