#!/usr/bin/env bash
# Checks the format of the C++ sources, and lints Python and the shell scripts:
#
#   launch/lint.sh [--fix]      --fix: change what can be changed
#   launch/lint.sh --tidy       clang-tidy, once build/release is configured: over the rooms without torch
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH="$root/.venv/bin:$PATH"

mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.h' '*.cpp' '*.cu' '*.cuh')
if [ "${1:-}" = --tidy ]; then
  mapfile -t rooms < <(grep -L TORCH src/*/CMakeLists.txt kernels/*/CMakeLists.txt | xargs -n1 dirname)
  git ls-files --cached --others --exclude-standard "${rooms[@]/%//*.cpp}" | grep -v _simd |
    xargs -P "$(nproc)" -n 4 clang-tidy -p build/release --quiet 2>/dev/null
  exit
fi
if [ "${1:-}" = --fix ]; then
  clang-format -i "${sources[@]}"
  ruff check --quiet --fix analysis tests
  exit
fi
clang-format --dry-run --Werror "${sources[@]}"
ruff check --quiet analysis tests
for script in launch/* slurm/* tests/support/*.sh; do
  if [ -f "$script" ] && head -n 1 "$script" | grep -q bash; then bash -n "$script"; fi
done
