#!/bin/sh
# Pushes PATHs and what they refer to with niks3, if every signature in them is valid:
#
#   niks3-push.sh PATH...
#
# NIKS3_SERVER_URL and NIKS3_AUTH_TOKEN_FILE name the server and the token, as for niks3.
set -eu
closure=$(nix-store --query --requisites "$@")
# shellcheck disable=SC2086 # one word per path
narseal verify -q $closure # ends with status 3 if one is invalid, and so does this
exec niks3 push "$@"
