#!/bin/sh
# A hook for CI, to be run after a build and before its result is copied to a cache:
#
#   ci-hook.sh [PATH...]        PATH: what was built (default: ./result)
#
# It ends with status 3 if a signature in the closure of a PATH is invalid, and lists it; in GitHub
# Actions by annotations and a job summary. With NARSEAL_REPAIR=1 in the environment it repairs the
# store of the machine first. That takes root, a user that the Nix daemon trusts, or the owner of a
# store without a daemon. Unless the user can write to Nix's database, sudo is used if it asks for no
# password.
set -eu
[ $# -gt 0 ] || set -- ./result

if [ "${NARSEAL_REPAIR:-}" = 1 ]; then
	status=0
	if [ "$(id -u)" != 0 ] && [ ! -w "${NIX_STATE_DIR:-/nix/var/nix}/db" ] && sudo -n true 2>/dev/null; then
		sudo env PATH="$PATH" NIX_REMOTE= narseal store repair --closure -- "$@" || status=$?
	else
		narseal store repair --closure -- "$@" || status=$?
	fi
	case $status in
	0 | 3) ;; # what cannot be repaired is listed below
	*) exit "$status" ;;
	esac
fi

format=text
[ "${GITHUB_ACTIONS:-}" != true ] || format=github
exec narseal store verify --closure --format "$format" -- "$@"
