#include "sweep/run_pretrained.h"

#include "pretrained/examiner.h"

namespace recite {

namespace {

class PretrainedTry {
 public:
  PretrainedTry(const StartTry& start, Group group, TryObserver& observer)
      : start_(start), group_(group), observer_(observer), points_(points_left(start, eval_points(start.job), 0)) {
    done_ = job_steps(start.job) - static_cast<int64_t>(points_.size());
  }

  TryResult run(torch::Device device) {
    if (points_.empty()) return {};
    report_progress("loading");
    Examiner examiner(start_.job, device);
    report_progress("evaluating");
    std::string not_run;
    for (const EvalPoint& point : points_) {
      if (stop_voted(group_, observer_)) return {true, 0, not_run};
      const Examined examined = examiner.measure(point, group_, [this] { observer_.stop_requested(); });
      if (!examined.not_run.empty()) not_run += (not_run.empty() ? "" : "; ") + examined.not_run;
      ++done_;
      if (leader()) keep(point, examined);
    }
    return {false, 0, not_run};
  }

 private:
  bool leader() const { return group_.rank() == 0; }

  void keep(const EvalPoint& point, const Examined& examined) {
    if (!examined.not_run.empty()) observer_.note(examined.not_run);
    // Before the row: a point that has one is not asked again.
    if (!examined.samples.empty()) write_samples(start_.folder, point, examined.samples);
    observer_.measured(examined.row);
    accuracy_ = examined.row.string_accuracy;
    report_progress("evaluating");
  }

  void report_progress(const char* phase) {
    if (leader()) observer_.progress({start_.id, done_, not_measured, accuracy_, not_measured, phase});
  }

  const StartTry& start_;
  Group group_;
  TryObserver& observer_;
  std::vector<EvalPoint> points_;  // that are left
  int64_t done_ = 0;
  double accuracy_ = not_measured;
};

}  // namespace

TryResult run_pretrained(const StartTry& start, torch::Device device, Group group, TryObserver& observer) {
  return PretrainedTry(start, group, observer).run(device);
}

}  // namespace recite
