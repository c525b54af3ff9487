#!/usr/bin/env bash
# Runs a config in parts on Kubernetes (1.31 or later): for each step a Job with all parts, then a Job that merges them,
# until the run is finished. Needs kubectl, and what parts.yaml says.
#
#   examples/kubernetes/run.sh --namespace models
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")

# Creates a Job, and waits until it is complete, or ends if it fails.
job() {
    local file=$1 name=$2
    shift 2
    kubectl "$@" replace --force -f "$here/$file" >/dev/null
    while true; do
        case $(kubectl "$@" get job "$name" -o 'jsonpath={.status.conditions[?(@.status=="True")].type}') in
            *Complete*) return ;;
            *Failed*)
                kubectl "$@" logs "job/$name" --tail=20 >&2
                return 1
                ;;
        esac
        sleep 2
    done
}

while true; do
    job parts.yaml cdi-prune-parts "$@"
    job merge.yaml cdi-prune-merge "$@"
    merged=$(kubectl "$@" logs job/cdi-prune-merge)
    echo "$merged"
    if grep -q '"finished": true' <<<"$merged"; then break; fi
done
