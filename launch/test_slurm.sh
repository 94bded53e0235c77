#!/usr/bin/env bash
# Runs the batch scripts of slurm/ in a real Slurm, made for the tests in a temporary folder of this host: whole sweeps,
# the time limit, preemption, cancelling, a node whose daemon died. Not part of launch/test.sh: few machines have slurmd.
#
#   launch/test_slurm.sh [PYTEST OPTION ...]        needs the Debian packages slurm-wlm and munge, and root
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
for program in slurmctld slurmd sbatch munged; do
  command -v "$program" >/dev/null || {
    echo "test_slurm.sh: no $program here. Install it and run this again:  apt-get install -y slurm-wlm munge" >&2
    exit 1
  }
done
launch/setup.sh
exec .venv/bin/python -m pytest -q -p no:cacheprovider tests/slurm "$@"
