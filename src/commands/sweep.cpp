#include "commands/commands.h"
#include "commands/run_jobs.h"
#include "config/sweep_file.h"

namespace recite {

int sweep_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("sweep", arguments);
  if (given.help) return 0;
  return run_jobs("sweep", arguments, given, [&](const Machine& machine) {
    return load_sweep(given.operands.front(), given.settings, machine);
  });
}

}  // namespace recite
