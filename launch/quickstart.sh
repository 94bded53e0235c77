#!/usr/bin/env bash
# From nothing to a figure: installs what is missing, builds, runs a real sweep on the CPU, draws what it measured.
#
#   launch/quickstart.sh [FOLDER]     (default: quickstart)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(realpath -m "${1:-$root/quickstart}")
"$root/launch/setup.sh"
mkdir -p "$folder"
cd "$root"

launch/recite -n 2 sweep configs/quickstart.ini -o "$folder/results.h5"
.venv/bin/python -m analysis figures "$folder/results.h5" -o "$folder"
printf '\nThe figure: %s\n' "$folder/overview.png"
