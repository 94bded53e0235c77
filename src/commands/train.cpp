#include "commands/commands.h"
#include "commands/run_jobs.h"

namespace recite {

int train_command(const std::vector<std::string>& arguments) {
  return run_jobs("train", arguments, [](const Arguments& given, const Machine& machine) {
    return load_single_job(given.settings, machine);
  });
}

}  // namespace recite
