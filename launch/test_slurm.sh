#!/usr/bin/env bash
# Tests the batch scripts of slurm/ in a real Slurm, which it starts in a folder and ends again: several nodes of one host,
# no GPUs. Needs the Debian packages slurm-wlm and munge (installed when run by root, else the one command is shown).
#
#   launch/test_slurm.sh [PYTEST OPTION ...]      for example -k preempted
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

is_there() { for program in slurmctld slurmd sbatch munged; do command -v "$program" >/dev/null || return 1; done; }
if ! is_there; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    printf 'There is no Slurm here. Please run this once, then the same command again:\n\n  %s\n\n' \
      'sudo apt-get install -y --no-install-recommends slurm-wlm munge' >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
fi

if [ -n "${RECITE_PROGRAM:-}" ]; then launch/setup.sh --no-build; else launch/setup.sh; fi
exec .venv/bin/python -m pytest -q -p no:cacheprovider --durations=5 tests/slurm "$@"
