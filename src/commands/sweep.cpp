#include "commands/commands.h"
#include "commands/run_jobs.h"

namespace recite {

int sweep_command(const std::vector<std::string>& arguments) {
  return run_jobs("sweep", arguments, [](const Arguments& given, const Machine& machine) {
    return load_sweep(given.operands.front(), given.settings, machine);
  });
}

}  // namespace recite
