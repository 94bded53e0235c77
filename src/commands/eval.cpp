#include <fmt/format.h>

#include <iostream>

#include "base/build_info.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/host.h"
#include "commands/commands.h"
#include "commands/machine.h"
#include "commands/measured_table.h"
#include "config/sweep_file.h"
#include "eval/evaluate.h"
#include "results/reader.h"
#include "results/writer.h"
#include "sweep/device.h"
#include "sweep/resume.h"
#include "weights/pretrained_folder.h"

namespace recite {

namespace {

std::vector<EvaluationRow> measure(SavedModel& saved) {
  SoloCollective alone;
  std::vector<EvaluationRow> rows;
  const std::vector<EvalPoint> points = eval_points(saved.job);
  for (const EvalPoint& point : points) {
    EvaluationRow row = evaluate(*saved.model, saved.job, point, {alone, alone});
    row.step = saved.step;
    row.examples = saved.examples;
    rows.push_back(row);
    std::cerr << fmt::format("measured {} of {} points\n", rows.size(), points.size());
  }
  return rows;
}

// The points join the file as a further try of the job: the highest try is what counts for each point.
void add_to_file(const std::string& path, const Job& job, const std::string& command,
                 const std::vector<EvaluationRow>& rows) {
  ResultsWriter writer(path, "eval");
  const ResultsContents contents = read_results(path);
  RunRow run;
  run.time = unix_time();
  run.command = command;
  run.build = build_description();
  const int32_t run_number = writer.add_run(run);
  JobRow job_row = job_record(job);
  EventRow event{-1, 1,           run_number, unix_time(), JobState::done, rows.empty() ? 0 : rows.front().step,
                 1,  host_name(), ""};
  for (const JobView& view : job_views(contents))
    if (view.job.id == job_row.id) event.job = view.job.job, event.attempt = view.attempts + 1;
  if (event.job < 0) event.job = writer.add_job(job_row);
  for (EvaluationRow row : rows) {
    row.job = event.job;
    row.attempt = event.attempt;
    row.run = run_number;
    writer.append(row);
  }
  event.state = JobState::running;
  writer.append(event);
  event.state = JobState::done;
  writer.append(event);
  writer.sync();
}

}  // namespace

int eval_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("eval", arguments);
  if (given.help) return 0;
  const std::optional<std::string> folder = given.text("model");
  if (!folder) throw UsageError("--model DIR is needed: the folder of a saved model (run.save_models leaves it)");
  const Machine machine = this_machine(1);
  if (const std::optional<std::string> output = given.text("output")) check_results_writable(*output, "eval");

  const SavedModel header = load_model_folder(*folder, torch::kCPU, Precision::float32);
  const Job job = with_options(header.job, given.settings, machine);
  const torch::Device device = take_device(job.run);
  SavedModel saved = load_model_folder(*folder, device, job.train.precision);
  saved.job = job;
  const std::vector<EvaluationRow> rows = measure(saved);
  print_measured(std::cout, rows);
  if (const std::optional<std::string> output = given.text("output"))
    add_to_file(*output, job, "recite eval --model " + *folder, rows);
  return 0;
}

}  // namespace recite
