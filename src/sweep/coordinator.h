// Rank 0 of a sweep: hands out the jobs, writes the results file, shows the progress.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "comm/transport.h"
#include "config/sweep_file.h"
#include "sweep/protocol.h"

namespace recite {

struct WorkerInfo {
  int rank = 0;
  Hello hello;
};

// Waits until every other rank has said hello or was lost. Throws Error when none is left.
std::vector<WorkerInfo> gather_workers(Transport& transport);

struct SweepRun {
  Sweep sweep;
  std::string results_path;
  std::string command;  // as the user typed it, for /runs
  bool retry_failed = false;
  double max_hours = 0;  // drain after this long; 0: never
};

// Runs every job that is not done yet, and says how it ended. Throws UsageError before any work when the results file
// cannot be used.
ExitCode coordinate(Transport& transport, const std::vector<WorkerInfo>& workers, const SweepRun& run);

}  // namespace recite
