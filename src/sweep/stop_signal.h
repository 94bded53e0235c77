// Signals that ask a run to stop. The first drains: running jobs write a checkpoint and end. The second ends at once.
#pragma once

namespace recite {

// SIGINT, SIGTERM and SIGUSR1 (what Slurm can send ahead of the time limit, and mpirun forwards) count from here on.
void watch_stop_signals();
int stop_signals_seen();

// In workers: the coordinator decides, they only listen to it.
void leave_stop_signals_to_coordinator();

// From here on, writing to a pipe or a socket that nobody reads any more is an error there, not the end of the process.
// Ctrl-C also ends a `tee` that the output goes to: who can say nothing any more still writes the checkpoints. And
// NCCL, aborted, writes once more to the rank whose loss it is aborted for.
void outlive_who_reads();

}  // namespace recite
