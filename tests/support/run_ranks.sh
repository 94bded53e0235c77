#!/usr/bin/env bash
# Runs a test program on N ranks, and passes only if exactly the expected number of ranks say that all their tests passed
# (mpirun's exit code proves nothing):  run_ranks.sh MPIRUN RANKS SURVIVORS PROGRAM [ARGUMENT ...]
set -uo pipefail
mpirun=$1 ranks=$2 survivors=$3
shift 3
RECITE_TEST_FOLDER=$(mktemp -d)
export RECITE_TEST_FOLDER RECITE_TEST_RANKS=$ranks
trap 'rm -rf "$RECITE_TEST_FOLDER"' EXIT
"$mpirun" -n "$ranks" "$@"
passed=$(find "$RECITE_TEST_FOLDER" -name 'passed-*' | wc -l)
echo "$passed of $ranks ranks passed, $survivors expected"
[ "$passed" = "$survivors" ]
