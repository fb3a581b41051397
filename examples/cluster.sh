#!/usr/bin/env bash
#
#   AIGID_ROWS=s3://bucket/rows examples/cluster.sh MANIFEST ROOT BACKBONE WORKERS FILE
#
# Workers that share no folder, here on one machine: each has a cache of its own, and the bucket has all rows. One that is
# killed is started again as on another machine, with an empty cache, and goes on from the bucket. At the end the file is
# put together from there.
set -euo pipefail
: "${AIGID_ROWS:?name a bucket}"
caches=$(mktemp -d)
trap 'rm -rf "$caches"' EXIT

extract() { AIGID_CACHE=$(mktemp -d -p "$caches") aigid extract "$manifest" --root "$root" --backbone "$backbone" "$@"; }

worker() {
    local code attempt
    for attempt in 1 2 3; do
        code=0
        extract --part "$1/$workers" || code=$?
        ((code > 128)) || break # not by a signal: 1 means that images could not be read, 2 that nothing can
    done
    return "$code"
}

manifest=$1 root=$2 backbone=$3 workers=$4 file=$5 code=0 started=()
for ((part = 1; part <= workers; part++)); do
    worker "$part" &
    started+=($!)
done
for process in "${started[@]}"; do wait "$process" || code=$?; done
((code < 2)) || exit "$code"
extract --out "$file"
