#include "commands/commands.h"
#include "commands/run_jobs.h"
#include "config/sweep_file.h"

namespace recite {

int train_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("train", arguments);
  if (given.help) return 0;
  return run_jobs("train", arguments, given,
                  [&](const Machine& machine) { return load_single_job(given.settings, machine); });
}

}  // namespace recite
