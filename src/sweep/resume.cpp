#include "sweep/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "train/checkpoint.h"

namespace recite {

namespace {

namespace fs = std::filesystem;

// Points of the job that its last evaluated step lacks.
bool every_point_measured(const Job& job, int32_t row, const std::vector<EvaluationRow>& evaluations) {
  int64_t last_step = -1;
  for (const EvaluationRow& e : evaluations)
    if (e.job == row) last_step = std::max(last_step, e.step);
  const auto is_measured = [&](const EvalPoint& point) {
    return std::any_of(evaluations.begin(), evaluations.end(), [&](const EvaluationRow& e) {
      return e.job == row && e.step == last_step && e.task == name_of(point.task) && e.n_gram == point.n_gram &&
             e.length == point.length && e.mode == name_of(job.eval.mode);
    });
  };
  const std::vector<EvalPoint> points = eval_points(job);
  return std::all_of(points.begin(), points.end(), is_measured);
}

void take_measured(LedgerEntry& entry, const std::vector<EvaluationRow>& evaluations) {
  const auto counts = [&](const EvaluationRow& e) {
    return e.job == entry.row && e.n > 0 && e.mode == name_of(entry.job.eval.mode);
  };
  for (const EvaluationRow& e : evaluations)
    if (counts(e)) entry.measured_step = std::max(entry.measured_step, e.step);
  for (const EvaluationRow& e : evaluations)
    if (counts(e) && e.step == entry.measured_step)
      entry.measured.push_back({parse_name<TaskKind>(e.task), e.n_gram, e.length});
}

// Of a job that is not done.
std::string way_on(const LedgerEntry& entry, const std::string& folder) {
  if (entry.attempt == 0) return "not begun";
  if (entry.job.is_pretrained()) return "goes on";
  const std::optional<int64_t> step = newest_checkpoint_step(folder);
  return step ? fmt::format("goes on at step {}", *step)
              : fmt::format("begins again at step 0: no checkpoint in {}", folder);
}

void decide(LedgerEntry& entry, const JobView& view, const std::vector<EvaluationRow>& evaluations, bool retry_failed,
            const std::string& folder) {
  entry.was = view.last.state;
  entry.row = view.job.job;
  entry.attempt = view.attempts;
  entry.state = JobState::planned;
  take_measured(entry, evaluations);
  if (view.last.state == JobState::failed && !retry_failed) {
    entry.state = JobState::failed;
    return;
  }
  if (view.done && every_point_measured(entry.job, entry.row, evaluations)) {
    entry.state = JobState::done;
    return;
  }
  // It is there when training has ended, and then the checkpoints may not be.
  const bool pretrained = entry.job.is_pretrained();
  entry.evaluate_only = !pretrained && fs::exists(folder + "/model/config.json");
  if (view.last.state == JobState::failed)
    entry.why = "failed before; to be tried again as asked";
  else if (entry.evaluate_only)
    entry.why = "points to measure on the saved model";
  else if (view.done)
    entry.why = pretrained ? "new points to measure" : "new points to measure, and no saved model: trained again";
  else
    entry.why = way_on(entry, folder);
}

bool is_kept(const fs::path& path) {
  return path.filename() == "model" || path.filename().string().starts_with("samples-");
}

}  // namespace

std::vector<LedgerEntry> entries_to_resume(const std::vector<Job>& jobs, const ResultsContents& contents,
                                           bool retry_failed, const std::string& results_path) {
  const std::vector<JobView> views = job_views(contents);
  const std::vector<EvaluationRow> evaluations = current_evaluations(contents);
  std::vector<LedgerEntry> entries;
  for (const Job& job : jobs) {
    LedgerEntry entry;
    entry.job = job;
    const auto view =
        std::find_if(views.begin(), views.end(), [id = job.id()](const JobView& v) { return v.job.id == id; });
    if (view != views.end()) decide(entry, *view, evaluations, retry_failed, job_folder(results_path, job));
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string job_folder(const std::string& results_path, const Job& job) { return results_path + ".jobs/" + job.id(); }

void discard_checkpoints(const std::string& folder) {
  std::error_code ignored;  // a leftover checkpoint does no harm
  if (!fs::exists(folder, ignored)) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored))
    if (!is_kept(entry.path())) fs::remove_all(entry.path(), ignored);
  if (fs::is_empty(folder, ignored)) fs::remove(folder, ignored);
  const fs::path parent = fs::path(folder).parent_path();
  if (fs::is_empty(parent, ignored)) fs::remove(parent, ignored);
}

JobRow job_record(const Job& job) {
  JobRow row;
  row.id = job.id();
  row.model = job.model_name();
  row.task = name_of(job.task.kind);
  row.parameters = parameter_count(job);
  row.spec = nlohmann::json(job).dump();
  if (job.is_pretrained()) {
    row.seed = job.eval.seed;
    row.learning_rate = not_measured;
    return row;
  }
  row.train_min_length = job.train.min_length;
  row.train_max_length = job.train.max_length;
  row.seed = job.train.seed;
  row.learning_rate = job.train.learning_rate;
  return row;
}

}  // namespace recite
