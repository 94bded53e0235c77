// Reads a results file, also while a sweep writes it, and gives the view that status, export and the analysis share.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/rows.h"

namespace recite {

struct ResultsContents {
  int format_version = 0;
  std::string name;
  std::vector<RunRow> runs;
  std::vector<JobRow> jobs;
  std::vector<EventRow> events;
  std::vector<EvaluationRow> evaluations;
  std::vector<TrainingRow> training;
};

// A snapshot of everything. Throws UsageError when `path` is missing or no results file.
ResultsContents read_results(const std::string& path);

// The state of a job is its last event; `lost` and `running` of a run that has ended count as `planned` for going on.
struct JobView {
  JobRow job;
  EventRow last;       // its last event
  int attempts = 0;    // tries so far
  double started = 0;  // time of the last `running` event; 0: never
  bool done = false;   // its last try ended so, whatever is planned since
};
std::vector<JobView> job_views(const ResultsContents& contents);

// The rows that count: for each (job, step, task, n_gram, length, mode) the row of the highest try (then the last).
std::vector<EvaluationRow> current_evaluations(const ResultsContents& contents);
std::vector<TrainingRow> current_training(const ResultsContents& contents);  // likewise by (job, step)

std::string results_library_version();  // "HDF5 1.10.8"

}  // namespace recite
