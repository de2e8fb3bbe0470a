#!/bin/sh
# A command for Hydra's RunCommand plugin, which runs after each build:
#
#   <runcommand>
#     job = *:*:*
#     command = /path/to/hydra-runcommand.sh
#   </runcommand>
#
# The log of the command lists invalid signatures, and its status shows in the build's page. The
# plugin runs after Hydra has uploaded the build: to keep a path out of the cache, use
# nix/post-build-hook.sh on the builders.
set -eu
# HYDRA_JSON names a file that describes the build.
outputs=$(jq -r '.outputs[].path' "$HYDRA_JSON")
# shellcheck disable=SC2086 # one word per path
exec narseal verify $outputs
