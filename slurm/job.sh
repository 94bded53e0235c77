# Sourced by the batch scripts of this folder: runs a sweep until it is complete, over as many allocations as it takes.
#
#   sbatch slurm/one_node.sbatch configs/paper/length_generalisation.ini results.h5 [OPTION ...]
#
# Slurm sends USR1 to the script ahead of the time limit (#SBATCH --signal): running jobs write a checkpoint, recite ends
# with 75, and the allocation is put back into the queue, where it goes on. A preempted allocation that Slurm requeues
# goes on in the same way.
set -uo pipefail
[ $# -ge 2 ] || { echo "usage: sbatch $(basename "$0") SWEEP.ini RESULTS.h5 [OPTION ...]" >&2; exit 2; }
sweep=$1 results=$2
shift 2
cd "${SLURM_SUBMIT_DIR:?run this with sbatch}"

# One worker for each GPU of the allocation, or for each task where there are none.
gpus_per_node=${SLURM_GPUS_ON_NODE:-0}
if [ "$gpus_per_node" -gt 0 ]; then workers=$((gpus_per_node * SLURM_JOB_NUM_NODES)); else workers=${SLURM_NTASKS:-1}; fi

launch/recite -n "$workers" sweep "$sweep" -o "$results" "$@" &
recite=$!
trap 'kill -USR1 "$recite" 2>/dev/null' USR1 TERM
while kill -0 "$recite" 2>/dev/null; do wait "$recite"; code=$?; done

if [ "$code" = 75 ]; then
  echo "stopped early: back into the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
