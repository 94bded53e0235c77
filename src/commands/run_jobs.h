// What sweep, train and pretrained share: jobs from the command line, run by the workers that are there.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/command_line.h"
#include "config/sweep_file.h"

namespace recite {

// Reads the command line on rank 0 alone, so that a wrong one is answered once. `load` makes the jobs once it is known
// what the workers have; the files that they name are looked at before any starts. Uses the options output,
// retry-failed and max-hours.
int run_jobs(const std::string& verb, const std::vector<std::string>& arguments,
             const std::function<Sweep(const Arguments&, const Machine&)>& load);

}  // namespace recite
