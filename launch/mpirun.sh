#!/usr/bin/env bash
# Runs a program on N MPI ranks with the launch line that recite needs:  launch/mpirun.sh -n N PROGRAM [ARGUMENT ...]
#
# ULFM lets the other ranks go on when one dies; over tcp a dead rank is a closed socket, which is always noticed (the
# shared-memory transport misses an exit); `han` does not know about failures; the remaining transports cost a second
# at start. RECITE_MPIRUN_FLAGS adds flags (hosts, -x VARIABLE, ...); RECITE_MPI_DIR names another Open MPI 5.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ ! -e "$here/environment.sh" ] || . "$here/environment.sh"   # an installed recite: where its Open MPI is
mpi=${RECITE_MPI_DIR:-$here/../.venv}

flags=(--with-ft ulfm --mca btl tcp,self --mca coll ^han --map-by :OVERSUBSCRIBE --bind-to none)
[ "$(id -u)" != 0 ] || flags+=(--allow-run-as-root)
# shellcheck disable=SC2206  # several flags in one variable
[ -z "${RECITE_MPIRUN_FLAGS:-}" ] || flags+=($RECITE_MPIRUN_FLAGS)

count=1
if [ "${1:-}" = -n ]; then count=$2; shift 2; fi
export PATH="$mpi/bin:$PATH"
exec "$mpi/bin/mpirun" "${flags[@]}" -n "$count" "$here/rank.sh" "$@"
