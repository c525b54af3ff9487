#!/usr/bin/env bash
# Runs a config in parts on Slurm: an array of parts for each step, and after each array a job that merges it and submits
# the next one, until the run is finished.
#
#   examples/slurm/submit.sh model.yaml 16
#
# All nodes must see the config, its inputs and outputs, and the program `cdi-prune` at the same paths. More options for
# `sbatch` (partition, account, time limit) go into SBATCH_* variables or after the number of parts:
#
#   examples/slurm/submit.sh model.yaml 16 --partition=cpu --time=30:00
#
# A task that fails, or whose node dies, is done again: `scontrol requeue JOB_TASK`, or another call of this script. Parts
# that are done are not done again.
set -euo pipefail
config=$(realpath "$1") parts=$2
shift 2
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

array=$(sbatch --parsable "$@" --array="1-$parts" "$here/part.sbatch" "$config")
# If a part fails, the merge is never run, and is taken from the queue.
merge=$(sbatch --parsable "$@" --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes \
    --export="ALL,CDI_PRUNE_EXAMPLES=$here" "$here/merge.sbatch" "$config" "$parts" "$@")
echo "parts: job $array, merge: job $merge"
