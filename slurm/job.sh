# Sourced by the batch scripts of this folder: runs a sweep until it is complete, over as many allocations as it takes.
#
#   sbatch slurm/one_node.sbatch configs/paper/length_generalisation.ini results.h5 [OPTION ...]
#
# Slurm sends USR1 to the script ahead of the time limit (#SBATCH --signal): running jobs write a checkpoint, recite ends
# with 75, and the allocation is put back into the queue, where it goes on. One that Slurm itself puts back (preemption,
# a lost node) goes on in the same way. A run that ends early unasked is put back RECITE_RESTARTS times (10) at most.
set -uo pipefail
[ $# -ge 2 ] || { echo "usage: sbatch $script SWEEP.ini RESULTS.h5 [OPTION ...]" >&2; exit 2; }
sweep=$1 results=$2
shift 2
root=$(dirname "$(dirname "$script")")
launcher=$root/launch/recite
[ -e "$launcher" ] || launcher=$root/../../bin/recite   # installed

again=no
[ "${SLURM_RESTART_COUNT:-0}" -ge "${RECITE_RESTARTS:-10}" ] || again=yes
stop() {
  again=$1
  kill -USR1 "$recite" 2>/dev/null
}
trap 'stop yes' USR1
trap 'stop no' TERM   # cancelled; or preempted, and then Slurm puts it back

# Each task is a worker; the coordinator is one rank more, on the first node.
"$launcher" -n "$SLURM_NTASKS" sweep "$sweep" -o "$results" "$@" &
recite=$!
while kill -0 "$recite" 2>/dev/null; do wait "$recite"; done
wait "$recite"
code=$?

# To requeue a job that is being cancelled would bring it back to life.
if [ "$code" = 75 ] && [ "$again" = yes ] && [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ]; then
  echo "stopped early: back into the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
