#include "commands/run_jobs.h"

#include <fmt/format.h>

#include <iostream>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/measured_table.h"
#include "pretrained/prepare.h"
#include "results/reader.h"
#include "sweep/roles.h"

namespace recite {

namespace {

// "recite sweep a.ini -o 'my results.h5'": for /runs, so that it can be typed again.
std::string command_text(const std::string& verb, const std::vector<std::string>& arguments) {
  std::string text = "recite " + verb;
  for (const std::string& argument : arguments) {
    const bool plain = argument.find_first_of(" \t\"'$*?&;|<>()\\") == std::string::npos && !argument.empty();
    text += plain ? " " + argument : " '" + argument + "'";
  }
  return text;
}

void refuse_missing_gpu(const Sweep& sweep, const std::vector<WorkerInfo>& workers) {
  for (const Job& job : sweep.jobs) {
    if (job.run.device != DeviceKind::cuda) continue;
    for (const WorkerInfo& worker : workers)
      if (worker.hello.gpus.empty())
        throw UsageError(fmt::format("run.device = cuda, but worker {} on {} sees no GPU (allowed there: auto, cpu)",
                                     worker.rank, worker.hello.host));
  }
}

}  // namespace

int run_jobs(const std::string& verb, const std::vector<std::string>& arguments,
             const std::function<Sweep(const Arguments&, const Machine&)>& load) {
  return run_roles(verb, [&](Transport& transport, const std::vector<WorkerInfo>& workers) {
    const Arguments given = arguments_of(verb, arguments);
    if (given.help) return ExitCode::done;
    SweepRun run;
    run.sweep = load(given, {static_cast<int>(workers.size()), every_worker_has_gpu(workers)});
    refuse_missing_gpu(run.sweep, workers);
    prepare_pretrained(run.sweep.jobs);
    run.results_path = given.text("output").value_or(run.sweep.spec.name + ".h5");
    run.command = command_text(verb, arguments);
    run.retry_failed = given.has("retry-failed");
    run.max_hours = given.number("max-hours", 0, 0, 24 * 365);
    const ExitCode code = coordinate(transport, workers, run);
    if (verb != "sweep") print_measured(std::cout, final_rows(read_results(run.results_path), run.sweep.jobs));
    return code;
  });
}

}  // namespace recite
