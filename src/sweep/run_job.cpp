#include "sweep/run_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/clock.h"
#include "eval/evaluate.h"
#include "sweep/run_pretrained.h"
#include "train/trainer.h"
#include "weights/pretrained_folder.h"

namespace recite {

namespace {

std::string model_folder(const StartTry& start) { return start.folder + "/model"; }

class TryRunner {
 public:
  TryRunner(const StartTry& start, torch::Device device, Group group, TryObserver& observer)
      : start_(start), job_(start.job), group_(group), observer_(observer), trainer_(start.job, device, group) {}

  TryResult run() {
    const std::string resumed = trainer_.load(start_.folder);
    if (!resumed.empty()) observer_.note(resumed);
    // The try before may have ended while it measured here, or have known that this is accurate enough.
    bool stopped = trainer_.steps_done() > 0 && is_measuring_due() && !measure_during_training();
    while (!stopped && !trainer_.finished() && !accurate_enough_) stopped = train_one_step();
    if (!stopped) {
      // What is left is measuring: a try that is killed there goes on from here.
      save();
      stopped = !measure(points_left(start_, eval_points(job_), trainer_.steps_done()));
    }
    if (stopped) return {true, trainer_.steps_done()};
    reported_.reset();  // the last word is never too soon
    if (leader()) report_progress("evaluating");
    if (leader() && job_.run.save_models)
      save_model_folder(model_folder(start_), trainer_.model(), job_, trainer_.steps_done(), trainer_.examples_done());
    return {false, trainer_.steps_done()};
  }

 private:
  bool leader() const { return group_.rank() == 0; }

  bool is_measuring_due() const {
    return job_.eval.every > 0 && trainer_.steps_done() % job_.eval.every == 0 && !trainer_.finished();
  }
  bool is_saving_due() const { return leader() && seconds_since(saved_) >= job_.run.checkpoint_every; }

  // True: some rank asked to stop, and the checkpoint is written.
  bool train_one_step() {
    const Votes votes = trainer_.start_step({.stop = observer_.stop_requested(), .save = is_saving_due()});
    bool stop = votes.stop;
    const bool measuring = is_measuring_due() && !stop;
    const bool saving = stop || votes.save;
    // Else the device works on this step while the next one's strings are made.
    const bool pause = measuring || saving || trainer_.finished();
    for (const StepReport& report : trainer_.take_reports(pause ? 0 : 1)) tell(report);
    if (measuring) stop = !measure_during_training();
    if (saving || stop) save();
    return stop;
  }

  // As measure().
  bool measure_during_training() {
    if (!measure(points_during_training())) return false;
    accurate_enough_ = reached_accuracy();
    return true;
  }

  void save() {
    trainer_.save(start_.folder);
    saved_ = Clock::now();
  }

  void tell(const StepReport& report) {
    tokens_ += report.tokens;
    if (!leader()) return;
    const bool last = report.step == job_.train.total_steps();
    const bool due = report.step % job_.run.log_every == 0 || last || first_step_;
    if (due) {
      TrainingRow row;
      row.step = report.step;
      row.examples = report.examples;
      row.loss = report.loss;
      row.learning_rate = report.learning_rate;
      row.grad_norm = report.grad_norm;
      row.tokens_per_second = static_cast<double>(tokens_) / seconds_since(rate_begin_);
      rate_ = row.tokens_per_second;
      observer_.logged(row);
      tokens_ = 0;
      rate_begin_ = Clock::now();
    }
    first_step_ = false;
    loss_ = report.loss;
    report_progress("training");
  }

  void report_progress(const char* phase) {
    constexpr double report_every = 0.25;  // seconds
    if (reported_ && seconds_since(*reported_) < report_every) return;
    reported_ = Clock::now();
    observer_.progress({start_.id, trainer_.steps_done(), loss_, accuracy_, rate_, phase});
  }

  std::vector<EvalPoint> points_during_training() const {
    std::vector<EvalPoint> points = eval_points(job_);
    const std::vector<int>& lengths = job_.eval.every_lengths;
    if (!lengths.empty())
      std::erase_if(points, [&](const EvalPoint& point) {
        return std::find(lengths.begin(), lengths.end(), point.length) == lengths.end();
      });
    if (job_.eval.stop_at_accuracy > 0 && std::find(points.begin(), points.end(), stop_point()) == points.end())
      points.push_back(stop_point());
    return points;
  }

  EvalPoint stop_point() const {
    const int length = job_.eval.stop_length > 0 ? job_.eval.stop_length : job_.train.max_length;
    return {job_.task.kind, job_.task.kind == TaskKind::copy ? 0 : job_.task.n_gram, length};
  }

  bool reached_accuracy() const { return job_.eval.stop_at_accuracy > 0 && accuracy_ >= job_.eval.stop_at_accuracy; }

  // False: some rank asked to stop, and points are left.
  bool measure(const std::vector<EvalPoint>& points) {
    for (const EvalPoint& point : points) {
      if (stop_voted(group_, observer_)) return false;
      EvaluationRow row = evaluate(trainer_.model(), job_, point, group_, [this] { observer_.stop_requested(); });
      row.step = trainer_.steps_done();
      row.examples = trainer_.examples_done();
      if (point == stop_point()) accuracy_ = row.string_accuracy;
      if (!leader()) continue;
      observer_.measured(row);
      report_progress("evaluating");
    }
    // Measuring is no training: it does not count in the rate.
    tokens_ = 0;
    rate_begin_ = Clock::now();
    return true;
  }

  const StartTry& start_;
  const Job& job_;
  Group group_;
  TryObserver& observer_;
  Trainer trainer_;
  Clock::time_point saved_ = Clock::now();
  Clock::time_point rate_begin_ = Clock::now();
  std::optional<Clock::time_point> reported_;
  int64_t tokens_ = 0;
  bool first_step_ = true;
  bool accurate_enough_ = false;
  double loss_ = not_measured;
  double accuracy_ = not_measured;
  double rate_ = not_measured;
};

TryResult measure_saved_model(const StartTry& start, torch::Device device, Group group, TryObserver& observer) {
  SavedModel saved = load_model_folder(model_folder(start), device, start.job.train.precision);
  for (const EvalPoint& point : points_left(start, eval_points(start.job), saved.step)) {
    if (stop_voted(group, observer)) return {true, saved.step};
    EvaluationRow row = evaluate(*saved.model, start.job, point, group, [&] { observer.stop_requested(); });
    row.step = saved.step;
    row.examples = saved.examples;
    if (group.rank() != 0) continue;
    observer.measured(row);
    observer.progress({start.id, saved.step, not_measured, row.string_accuracy, not_measured, "evaluating"});
  }
  return {false, saved.step};
}

}  // namespace

bool stop_voted(Group group, TryObserver& observer) { return group.host.sum(observer.stop_requested() ? 1 : 0) > 0; }

std::vector<EvalPoint> points_left(const StartTry& start, std::vector<EvalPoint> points, int64_t step) {
  if (step == start.measured_step)
    std::erase_if(points, [&](const EvalPoint& point) {
      return std::find(start.measured.begin(), start.measured.end(), point) != start.measured.end();
    });
  return points;
}

TryResult run_job(const StartTry& start, torch::Device device, Group group, TryObserver& observer) {
  if (start.job.is_pretrained()) return run_pretrained(start, device, group, observer);
  if (start.evaluate_only) return measure_saved_model(start, device, group, observer);
  return TryRunner(start, device, group, observer).run();
}

}  // namespace recite
