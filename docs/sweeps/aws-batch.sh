#!/usr/bin/env bash
# Sweeps a cache as an array job of AWS Batch. QUEUE is the job queue.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
aws batch register-job-definition --cli-input-json "file://$here/aws-batch.json"
aws batch submit-job --job-name narseal-sweep --job-queue "$QUEUE" --job-definition narseal-sweep --array-properties size=16
