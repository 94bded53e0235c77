#!/usr/bin/env bash
# Runs all tests on the CPU: format and lint, the build with warnings as errors, units, comparisons with independent
# implementations, MPI runs, whole sweeps with injected faults, the analysis, and the units once more under
# AddressSanitizer and UndefinedBehaviorSanitizer. Tests that need a GPU are a program of their own (build/release/gpu_tests).
#
#   launch/test.sh [PATTERN]      only the tests whose name matches, without lint and sanitizers
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
launch/setup.sh --no-build
export PATH="$root/.venv/bin:$PATH"
export OMP_WAIT_POLICY=passive   # several programs with several threads each share the cores

say() { printf '== %s\n' "$*"; }
build() {   # preset, targets
  cmake --preset "$1" -DRECITE_CUDA="${RECITE_CUDA:-auto}" --log-level=WARNING >/dev/null
  cmake --build --preset "$1" --target "${@:2}"
}

if [ $# -eq 0 ]; then
  say "format and lint"
  launch/lint.sh
fi

say "build"
build release all

if [ $# -eq 0 ]; then
  say "clang-tidy"
  launch/lint.sh --tidy
fi

say "tests"
ctest --test-dir build/release --output-on-failure --no-tests=error ${1:+-R "$1"}

if [ $# -eq 0 ]; then
  say "units under AddressSanitizer and UndefinedBehaviorSanitizer"
  RECITE_CUDA=off build asan units
  ctest --test-dir build/asan --output-on-failure --no-tests=error -L unit
fi
