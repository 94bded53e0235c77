// What sweep and train share: jobs from the command line, run by the workers that are there.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/command_line.h"
#include "config/sweep_file.h"

namespace recite {

// `load` makes the jobs once it is known what the workers have. Reads the options output, retry-failed and max-hours.
int run_jobs(const std::string& verb, const std::vector<std::string>& arguments, const Arguments& given,
             const std::function<Sweep(const Machine&)>& load);

}  // namespace recite
