#!/usr/bin/env bash
# Sweeps one shard: shard.sh PART, where PART is I/N, or auto/N under a scheduler that numbers its tasks.
#
# The environment says what to sweep:
#   CACHE    the cache to read, such as https://cache.nixos.org
#   OVERLAY  the cache to write, such as s3://overlay?region=eu-west-1
#   KEY      the file with the secret key
#   TRUSTED_KEYS  the public keys of CACHE: only paths that one of them has signed are repaired and signed with KEY. "none" signs
#            whatever CACHE sends, so that whoever can change it, or the connection to it, has your key sign for them
#   LIST     the file with the store paths, or its URL
#   STATE    a directory for the ledgers, or the URL of one in S3, such as s3://state/ledgers?region=eu-west-1
#            (default: ./sweep)
#   METRICS  a directory for metrics, such as that of node_exporter's textfile collector (optional)
#   OPTIONS  more options, such as --max-age 48h (optional)
set -uo pipefail

part=$1
state=${STATE:-./sweep}
index=${part%/*}
if [ "$index" = auto ]; then
	slurm=${SLURM_ARRAY_TASK_ID:+$((SLURM_ARRAY_TASK_ID - ${SLURM_ARRAY_TASK_MIN:-0}))}
	index=${JOB_COMPLETION_INDEX:-${AWS_BATCH_JOB_ARRAY_INDEX:-$slurm}}
fi
case $state in
*://*\?*) ledger="${state%%\?*}/ledger-$index.jsonl?${state#*\?}" ;;
*://*) ledger="$state/ledger-$index.jsonl" ;;
*) mkdir -p "$state" && ledger="$state/ledger-$index.jsonl" ;;
esac
args=(--overlay --output "$OVERLAY" --secret-key-file "$KEY" --paths "$LIST" --shard "$part" --ledger "$ledger")
case ${TRUSTED_KEYS:-} in
"")
	echo "shard.sh: set TRUSTED_KEYS to the public keys of $CACHE, or to none" >&2
	exit 2
	;;
none) ;;
*) args+=(--trusted-public-keys "$TRUSTED_KEYS") ;;
esac
if [ -n "${METRICS:-}" ]; then
	args+=(--metrics "$METRICS/narseal-$index.prom")
fi

# What fails, or is killed, is tried again: only what the ledger does not have is done. Status 3 says that a signature could
# not be repaired: the ledger has it, and the summary shows it.
for wait in 1 5 20 60 0; do
	# shellcheck disable=SC2086
	narseal cache repair "${args[@]}" ${OPTIONS:-} "$CACHE"
	status=$?
	case $status in
	0 | 3) exit 0 ;;
	2) exit 2 ;; # wrong usage stays wrong
	esac
	sleep "${RETRY_WAIT:-$wait}"
done
exit "$status"
