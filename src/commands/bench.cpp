#include "bench/bench.h"

#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <fstream>
#include <iostream>

#include "base/build_info.h"
#include "base/error.h"
#include "base/text.h"
#include "commands/commands.h"
#include "commands/machine.h"
#include "config/sweep_file.h"
#include "sweep/device.h"

namespace recite {

namespace {

// Of a size that any machine steps through in a moment.
const GivenOptions small_model = {{"model.hidden_size", "128"},   {"model.layers", "2"},
                                  {"model.heads", "4"},           {"model.num_masked_heads", "2"},
                                  {"model.state_dim", "16"},      {"train.batch_size", "32"},
                                  {"train.context_length", "128"}};

std::vector<Job> jobs_to_bench(GivenOptions settings, const Machine& machine) {
  for (const auto& [name, value] : small_model)
    if (!gives(settings, name)) settings.emplace_back(name, value);
  if (gives(settings, "sweep.model")) return load_single_job(settings, machine).jobs;
  std::vector<Job> jobs;
  for (const std::string& model : names_of<Architecture>()) {
    settings.emplace_back("sweep.model", model);
    jobs.push_back(load_single_job(settings, machine).jobs.front());
    settings.pop_back();
  }
  return jobs;
}

std::string rate_text(const BenchRow& row) {
  if (row.flops > 0) return fmt::format("{:.1f} GFLOP/s", row.flops / row.seconds * 1e-9);
  if (row.bytes > 0) return fmt::format("{:.1f} GB/s", row.bytes / row.seconds * 1e-9);
  return "";
}

std::string time_text(double seconds) {
  return seconds < 1e-3 ? fmt::format("{:.1f} us", seconds * 1e6) : fmt::format("{:.2f} ms", seconds * 1e3);
}

void print_row(const BenchRow& row, const Ceilings& ceilings) {
  const double share = row.share(ceilings);
  fmt::print("{:<38} {:<30} {:>10} {:>12} tok/s {:>15} {:>6}\n", row.what, row.shape, time_text(row.seconds),
             with_prefix(row.tokens / row.seconds), rate_text(row),
             share > 0 ? fmt::format("{:.0f} %", 100 * share) : "");
  std::fflush(stdout);
}

std::vector<BenchRow> bench_job(const BenchRun& run, bool with_strings) {
  std::vector<BenchRow> rows = bench_operations(run);
  if (with_strings) rows.push_back(bench_strings(run));
  rows.push_back(bench_training_step(run));
  return rows;
}

void write_json(const std::string& path, const BenchRun& run, const Ceilings& ceilings,
                const std::vector<BenchRow>& rows) {
  const nlohmann::json out = {{"build", build_description()},
                              {"device", run.device.is_cuda() ? gpu_names()[run.device.index()] : "cpu"},
                              {"threads", at::get_num_threads()},
                              {"precision", name_of(run.job.train.precision)},
                              {"matrix_product_flops_per_second", ceilings.flops},
                              {"copy_bytes_per_second", ceilings.bytes},
                              {"rows", rows}};
  std::ofstream file(path);
  file << out.dump(2) << '\n';
  if (!file.flush()) throw UsageError(fmt::format("cannot write {}: choose another place with --json", path));
}

}  // namespace

int bench_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("bench", arguments);
  if (given.help) return static_cast<int>(ExitCode::done);
  BenchRun run;
  run.budget = given.number("seconds", 1, 0.01, 1000);
  run.trace = given.text("trace").value_or("");
  const std::vector<Job> jobs = jobs_to_bench(given.settings, this_machine(1));
  if (!run.trace.empty() && jobs.size() > 1) throw UsageError("--trace takes one training step: give --model, too");
  run.job = jobs.front();
  run.device = take_device(run.job.run);

  const Ceilings ceilings = measure_ceilings(run);
  fmt::print("{} thread{}, {}: a matrix product reaches {:.1f} GFLOP/s, a copy {:.1f} GB/s\n\n", at::get_num_threads(),
             at::get_num_threads() == 1 ? "" : "s", name_of(run.job.train.precision), ceilings.flops * 1e-9,
             ceilings.bytes * 1e-9);
  std::vector<BenchRow> all;
  for (const Job& job : jobs) {
    run.job = job;
    run.job.train.steps = int64_t{1} << 40;  // as many as there is time for
    for (const BenchRow& row : bench_job(run, all.empty())) {
      const bool seen = std::any_of(all.begin(), all.end(), [&](const BenchRow& other) {
        return other.what == row.what && other.shape == row.shape;
      });
      if (seen) continue;
      print_row(row, ceilings);
      all.push_back(row);
    }
  }
  if (const auto path = given.text("json")) write_json(*path, run, ceilings, all);
  return static_cast<int>(ExitCode::done);
}

}  // namespace recite
