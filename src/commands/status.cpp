// recite status: how far a sweep is, from its results file alone.
#include "commands/status.h"

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/text.h"
#include "commands/commands.h"
#include "results/lock.h"

namespace recite {

namespace {

bool is_live(const std::string& path) {
  const std::optional<LockHolder> holder = read_lock(path);
  return holder && may_be_writing(*holder);
}

JobState state_of(const JobView& view, bool live) {
  const JobState state = view.last.state;
  const bool begun = state == JobState::running || state == JobState::lost;
  return begun && !(live && state == JobState::running) ? JobState::planned : state;
}

std::vector<JobView> in_state(const std::vector<JobView>& views, JobState state, bool live) {
  std::vector<JobView> chosen;
  std::copy_if(views.begin(), views.end(), std::back_inserter(chosen),
               [&](const JobView& view) { return state_of(view, live) == state; });
  return chosen;
}

bool is_pretrained(const JobRow& job) { return job.train_max_length == 0; }

int64_t points_of(const JobRow& job, const std::vector<EvaluationRow>& evaluations) {
  return std::count_if(evaluations.begin(), evaluations.end(),
                       [&](const EvaluationRow& row) { return row.job == job.job; });
}

std::string label_of(const JobRow& job) {
  if (is_pretrained(job)) return fmt::format("{} {} seed {}", job.model, job.task, job.seed);
  return fmt::format("{} {} {}..{} seed {}", job.model, job.task, job.train_min_length, job.train_max_length, job.seed);
}

// The row of the highest step of each job.
template <class Row>
std::map<int32_t, Row> latest_by_job(const std::vector<Row>& rows) {
  std::map<int32_t, Row> latest;
  for (const Row& row : rows) {
    const auto [found, is_new] = latest.try_emplace(row.job, row);
    if (!is_new && row.step > found->second.step) found->second = row;
  }
  return latest;
}

// What the job's resolved options say about its length (a pretrained job's steps are its points); zeros where the row
// has no such options.
struct Extent {
  int64_t steps = 0;
  double tokens_per_step = 0;
};

Extent extent_of(const JobRow& job) {
  const auto spec = nlohmann::json::parse(job.spec, nullptr, false);
  if (!spec.is_object() || !spec.contains("train")) return {};
  if (is_pretrained(job)) return {static_cast<int64_t>(spec.at("eval").at("lengths").size()), 0};
  const auto& train = spec.at("train");
  return {train.value("steps", int64_t{0}) * train.value("epochs", int64_t{1}),
          train.value("batch_size", 0.0) * train.value("context_length", 0.0)};
}

double seconds_left(const Extent& extent, const TrainingRow& at) {
  return static_cast<double>(extent.steps - at.step) * extent.tokens_per_step / at.tokens_per_second;
}

std::string accuracy_text(const EvaluationRow& row) {
  if (std::isnan(row.string_accuracy)) return "-";
  return fmt::format("{:.3f} ({} {})", row.string_accuracy, row.task, row.length);
}

// From the jobs that are done; nothing where there is none, or nothing runs.
double estimated_seconds_left(const std::vector<JobView>& views, bool live) {
  const auto running = in_state(views, JobState::running, live);
  const auto done = in_state(views, JobState::done, live);
  double total = 0;
  for (const JobView& view : done) total += view.last.time - view.started;
  const size_t unfinished = views.size() - done.size() - in_state(views, JobState::failed, live).size();
  if (running.empty() || done.empty()) return not_measured;
  return total / static_cast<double>(done.size()) * static_cast<double>(unfinished) /
         static_cast<double>(running.size());
}

void print_heading(std::ostream& out, const ResultsContents& contents, const std::string& path, bool live, double now) {
  fmt::print(out, "{}: {}", path, contents.name);
  if (!contents.runs.empty()) {
    const RunRow& run = contents.runs.back();
    fmt::print(out, ", run {} begun {} ago with {} on {}", run.run + 1, duration(now - run.time),
               counted(run.workers, "worker"), run.hosts);
  }
  fmt::print(out, "{}\n", live ? "" : "; nothing is writing it now");
}

void print_counts(std::ostream& out, const std::vector<JobView>& views, bool live) {
  fmt::print(out, "{}:", counted(static_cast<int64_t>(views.size()), "job"));
  for (const JobState state :
       {JobState::done, JobState::running, JobState::planned, JobState::stopped, JobState::failed}) {
    const size_t count = in_state(views, state, live).size();
    if (count > 0) fmt::print(out, " {} {}", count, name_of(state));
  }
  const double left = estimated_seconds_left(views, live);
  if (std::isfinite(left)) fmt::print(out, ", about {} left", duration(left));
  fmt::print(out, "\n");
}

void print_running(std::ostream& out, const ResultsContents& contents, const std::vector<JobView>& running) {
  if (running.empty()) return;
  const auto steps = latest_by_job(current_training(contents));
  const std::vector<EvaluationRow> evaluations = current_evaluations(contents);
  const auto points = latest_by_job(evaluations);
  fmt::print(out, "\n{:>5}  {:<36} {:>4} {:>15} {:>10} {:>10}  {:>12}  {}\n", "job", "running", "try", "step", "loss",
             "tokens/s", "left", "string accuracy");
  for (const JobView& view : running) {
    const Extent extent = extent_of(view.job);
    const auto step = steps.find(view.job.job);
    const TrainingRow at = step == steps.end() ? TrainingRow{} : step->second;
    const auto point = points.find(view.job.job);
    const int64_t done = is_pretrained(view.job) ? points_of(view.job, evaluations) : at.step;
    fmt::print(out, "{:>5}  {:<36} {:>4} {:>15} {:>10.4f} {:>10}  {:>12}  {}\n", view.job.job, label_of(view.job),
               view.last.attempt, fmt::format("{}/{}", done, extent.steps), at.loss,
               std::isfinite(at.tokens_per_second) ? with_prefix(at.tokens_per_second) : "?",
               duration(seconds_left(extent, at)), point == points.end() ? "-" : accuracy_text(point->second));
  }
}

void print_failures(std::ostream& out, const std::vector<JobView>& failed, const std::string& path) {
  for (const JobView& view : failed) {
    fmt::print(out, "\njob {} failed ({}) after {} {} on {}:\n  {}\n", view.job.job, label_of(view.job), view.attempts,
               view.attempts == 1 ? "try" : "tries", view.last.host, view.last.message);
    // A worker that could still say why named its log in the message.
    if (view.last.message.find(".logs/") == std::string::npos) {
      fmt::print(out, "  logs: {}.logs/{}-*.log\n", path, view.last.host);
    }
  }
}

volatile std::sig_atomic_t interrupted = 0;

void note_interrupt(int) { interrupted = 1; }

// Until nothing is written any more, or Ctrl-C.
int watch(const std::string& path, double seconds, bool quiet) {
  std::signal(SIGINT, note_interrupt);
  std::signal(SIGTERM, note_interrupt);
  const bool clear = !quiet && isatty(STDOUT_FILENO) != 0;
  for (;;) {
    const bool last = !is_live(path);
    if (clear) fmt::print(std::cout, "\x1b[H\x1b[2J");
    const int code = run_status(path, quiet, std::cout);
    if (last) return code;
    // A signal ends the wait.
    if (interrupted == 0) poll(nullptr, 0, static_cast<int>(seconds * 1000));
    if (interrupted != 0) return code;
  }
}

}  // namespace

void print_status(std::ostream& out, const ResultsContents& contents, const std::string& path, bool live, double now) {
  const std::vector<JobView> views = job_views(contents);
  print_heading(out, contents, path, live, now);
  print_counts(out, views, live);
  print_running(out, contents, in_state(views, JobState::running, live));
  print_failures(out, in_state(views, JobState::failed, live), path);
  out.flush();
}

ExitCode sweep_verdict(const ResultsContents& contents) {
  // A run may have been asked for some of the jobs only: it knows best.
  const auto last = std::find_if(contents.events.rbegin(), contents.events.rend(),
                                 [](const EventRow& event) { return event.job == -1; });
  const bool of_last_run = last != contents.events.rend() && last->run + 1 == static_cast<int>(contents.runs.size());
  if (of_last_run && last->state == JobState::done) return ExitCode::done;
  if (of_last_run && last->state == JobState::failed) return ExitCode::jobs_failed;

  size_t done = 0;
  size_t failed = 0;
  for (const JobView& view : job_views(contents)) {
    if (view.last.state == JobState::done) ++done;
    if (view.last.state == JobState::failed) ++failed;
  }
  if (contents.jobs.empty() || done + failed < contents.jobs.size()) return ExitCode::stopped;
  return failed > 0 ? ExitCode::jobs_failed : ExitCode::done;
}

int run_status(const std::string& path, bool quiet, std::ostream& out) {
  const bool live = is_live(path);
  const ResultsContents contents = read_results(path);
  if (!quiet) print_status(out, contents, path, live, unix_time());
  return static_cast<int>(sweep_verdict(contents));
}

int status_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("status", arguments);
  if (given.help) return 0;
  const std::string& path = given.operands.front();
  const bool quiet = given.has("quiet");
  if (given.has("watch")) return watch(path, given.number("watch", 2, 0.1, 3600), quiet);
  return run_status(path, quiet, std::cout);
}

}  // namespace recite
