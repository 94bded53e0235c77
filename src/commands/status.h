// What a results file says about its sweep, for the terminal.
#pragma once

#include <iosfwd>
#include <string>

#include "base/error.h"
#include "results/reader.h"

namespace recite {

// Prints the jobs by state, what each running one is at, and the failures. `live`: a writer is at work, so that jobs
// that were begun are running; otherwise they were interrupted, and count as planned. `now`: Unix seconds.
void print_status(std::ostream& out, const ResultsContents& contents, const std::string& path, bool live, double now);

// done, jobs_failed or stopped: as the last run ended, else (it runs, or was killed) as the jobs stand.
ExitCode sweep_verdict(const ResultsContents& contents);

// Reads the file, prints its status unless `quiet`, returns the verdict. Throws UsageError when it cannot be read.
int run_status(const std::string& path, bool quiet, std::ostream& out);

}  // namespace recite
