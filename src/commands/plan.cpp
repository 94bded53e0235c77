#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "commands/commands.h"
#include "commands/machine.h"
#include "config/sweep_file.h"
#include "pretrained/prepare.h"
#include "results/reader.h"
#include "results/writer.h"
#include "sweep/resume.h"

namespace recite {

namespace {

// Jobs whose steps take the same time: the same model, on the same kind of device, in rows of the same size.
std::string speed_key(const Job& job) {
  const nlohmann::json key = {job.model,
                              job.ranks,
                              job.train.batch_size,
                              job.train.micro_batch_size,
                              job.train.context_length,
                              name_of(job.train.precision),
                              name_of(job.run.device)};
  return key.dump();
}

// Tokens per second, the median of what was logged, by speed_key.
std::map<std::string, double> measured_rates(const ResultsContents& contents) {
  std::map<int32_t, std::string> key_of_job;
  for (const JobRow& row : contents.jobs) key_of_job[row.job] = speed_key(nlohmann::json::parse(row.spec).get<Job>());
  std::map<std::string, std::vector<double>> logged;
  for (const TrainingRow& row : contents.training) {
    const auto key = key_of_job.find(row.job);
    if (key != key_of_job.end() && row.tokens_per_second > 0) logged[key->second].push_back(row.tokens_per_second);
  }
  std::map<std::string, double> rates;
  for (auto& [key, values] : logged) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    rates[key] = *middle;
  }
  return rates;
}

struct PlanLine {
  LedgerEntry entry;
  double seconds = not_measured;  // of the training that is left to do, from its start
};

std::vector<PlanLine> plan_lines(const Sweep& sweep, const ResultsContents& contents, const std::string& results_path,
                                 bool retry_failed) {
  const std::map<std::string, double> rates = measured_rates(contents);
  std::vector<PlanLine> lines;
  for (LedgerEntry& entry : entries_to_resume(sweep.jobs, contents, retry_failed, results_path)) {
    PlanLine line{std::move(entry)};
    const auto rate = rates.find(speed_key(line.entry.job));
    if (rate != rates.end()) line.seconds = job_tokens(line.entry.job) / rate->second;
    lines.push_back(std::move(line));
  }
  return lines;
}

bool asks(const LedgerEntry& entry) { return entry.state == JobState::planned && entry.job.is_pretrained(); }

bool trains(const LedgerEntry& entry) {
  return entry.state == JobState::planned && !entry.evaluate_only && !entry.job.is_pretrained();
}

std::string state_text(const LedgerEntry& entry) {
  if (entry.row < 0) return "new";
  std::string text(name_of(entry.was));
  if (!entry.why.empty()) text += ": " + entry.why;
  return text;
}

std::string time_text(double seconds) { return std::isnan(seconds) ? "-" : duration(seconds); }

void print_line(const PlanLine& line, size_t label_width) {
  const Job& job = line.entry.job;
  fmt::print("{}  {:<{}}  {:>10}  {:>8}  {:>9}  {:>5}  {:>11}  {}\n", job.id(), job.label(), label_width,
             with_prefix(static_cast<double>(parameter_count(job))), with_prefix(job_tokens(job)),
             bytes(estimated_memory(job)), job.ranks, trains(line.entry) ? time_text(line.seconds) : "-",
             state_text(line.entry));
}

void print_totals(const std::vector<PlanLine>& lines, int workers) {
  size_t to_train = 0, to_ask = 0, points = 0;
  double tokens = 0, worker_seconds = 0;
  for (const PlanLine& line : lines) {
    points += eval_points(line.entry.job).size();
    if (!trains(line.entry) && !asks(line.entry)) continue;
    ++(trains(line.entry) ? to_train : to_ask);
    tokens += job_tokens(line.entry.job);
    worker_seconds += line.seconds * line.entry.job.ranks;
  }
  const std::string asked = to_ask > 0 ? fmt::format(", {} to ask pretrained models", to_ask) : "";
  fmt::print("{} job{}, {} to train{}; {} evaluation points; {} tokens; time with {} worker{}: {}\n", lines.size(),
             lines.size() == 1 ? "" : "s", to_train, asked, points, with_prefix(tokens), workers,
             workers == 1 ? "" : "s", time_text(worker_seconds / workers));
}

void print_plan(const Sweep& sweep, const std::vector<PlanLine>& lines, int workers) {
  size_t label_width = 5;
  for (const Job& job : sweep.jobs) label_width = std::max(label_width, job.label().size());
  fmt::print("Sweep '{}'\n\n{:<16}  {:<{}}  {:>10}  {:>8}  {:>9}  {:>5}  {:>11}  {}\n", sweep.spec.name, "id", "job",
             label_width, "parameters", "tokens", "memory", "ranks", "time", "state");
  for (const PlanLine& line : lines) print_line(line, label_width);
  fmt::print("\n");
  print_totals(lines, workers);
}

}  // namespace

int plan_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("plan", arguments);
  if (given.help) return static_cast<int>(ExitCode::done);
  const int workers = static_cast<int>(given.integer("workers", 1, 1, 1000000));
  // Without --workers nobody has said how many will train: then only what holds for any number is refused.
  Sweep sweep = load_sweep(given.operands.front(), given.settings, this_machine(given.has("workers") ? workers : 0));
  prepare_pretrained(sweep.jobs);
  const std::string results_path = given.text("output").value_or("");
  if (given.has("check")) {
    if (!results_path.empty()) check_results_writable(results_path, sweep.spec.name);
    return static_cast<int>(ExitCode::done);
  }
  ResultsContents contents;
  if (!results_path.empty() && std::filesystem::exists(results_path)) contents = read_results(results_path);
  print_plan(sweep, plan_lines(sweep, contents, results_path, given.has("retry-failed")), workers);
  return static_cast<int>(ExitCode::done);
}

}  // namespace recite
