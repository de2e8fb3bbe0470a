#!/bin/sh
# Pushes PATHs and what they refer to to a cache of Cachix, if every signature in them is valid:
#
#   cachix-push.sh CACHE PATH...
set -eu
cache=$1
shift
closure=$(nix-store --query --requisites "$@")
# shellcheck disable=SC2086 # one word per path
narseal verify -q $closure # ends with status 3 if one is invalid, and so does this
exec cachix push "$cache" "$@"
