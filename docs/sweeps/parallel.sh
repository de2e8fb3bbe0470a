#!/usr/bin/env bash
# Sweeps a cache on one machine with GNU parallel: SHARDS shards (default 16), JOBS at a time (default: one for each core).
# What shard.sh needs is in the environment. A shard that fails is started up to three times.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
shards=${SHARDS:-16}
export CACHE OVERLAY KEY TRUSTED_KEYS LIST STATE
seq 0 $((shards - 1)) | parallel --jobs "${JOBS:-100%}" --retries 3 --line-buffer --tagstring 'shard {}' "$here/shard.sh" "{}/$shards"
