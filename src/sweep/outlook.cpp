#include "sweep/outlook.h"

#include <algorithm>
#include <cmath>

namespace recite {

void Outlook::started(const TryId& id) { watched_[id.job] = {}; }

void Outlook::reported(const ProgressReport& report) {
  Watched& watched = watched_[report.id.job];
  if (watched.first_step < 0) {
    watched.first_step = report.step;
    watched.started = Clock::now();
  }
  watched.report = report;
}

Outlook::Ended Outlook::ended(const TryId& id, const Job& job, JobState state) {
  const Watched watched = watched_[id.job];
  watched_.erase(id.job);
  const double seconds = seconds_since(watched.started);
  if (state == JobState::done) {
    work_done_ += job_cost(job);
    busy_seconds_ += seconds;
  }
  return {seconds, watched.report.accuracy};
}

SweepSnapshot Outlook::snapshot(const Ledger& ledger) const {
  SweepSnapshot s;
  s.planned = ledger.count(JobState::planned);
  s.running = ledger.count(JobState::running);
  s.done = ledger.count(JobState::done);
  s.failed = ledger.count(JobState::failed);
  s.stopped = ledger.count(JobState::stopped);
  s.workers = ledger.workers_alive();
  s.elapsed = elapsed();
  s.draining = ledger.draining();
  for (const LedgerEntry& entry : ledger.entries())
    if (entry.state == JobState::running) s.jobs.push_back(running_job(entry));
  s.seconds_left = seconds_left(ledger, s);
  return s;
}

RunningJob Outlook::running_job(const LedgerEntry& entry) const {
  const Watched& watched = watched_.at(entry.row);
  const ProgressReport& report = watched.report;
  RunningJob job{entry.job.label(),
                 report.phase.empty() ? "starting" : report.phase,
                 report.step,
                 job_steps(entry.job),
                 report.loss,
                 report.accuracy,
                 report.tokens_per_second,
                 not_measured};
  const auto taken = static_cast<double>(report.step - watched.first_step);
  if (watched.first_step >= 0 && taken > 0)
    job.seconds_left = seconds_since(watched.started) / taken * static_cast<double>(job.steps - report.step);
  return job;
}

// What runs goes on at its own rate. What is planned is taken to run at the mean rate, in work a second, of what has
// run so far, as many jobs at a time as now.
double Outlook::seconds_left(const Ledger& ledger, const SweepSnapshot& now) const {
  double work = work_done_, busy = busy_seconds_, planned = 0, running_left = 0, longest = 0;
  for (const LedgerEntry& entry : ledger.entries()) {
    if (entry.state == JobState::planned) planned += job_cost(entry.job);
    if (entry.state != JobState::running) continue;
    const Watched& watched = watched_.at(entry.row);
    const auto taken = static_cast<double>(watched.report.step - std::max<int64_t>(watched.first_step, 0));
    work += job_cost(entry.job) * taken / static_cast<double>(job_steps(entry.job));
    busy += seconds_since(watched.started);
  }
  for (const RunningJob& job : now.jobs) {
    if (!std::isfinite(job.seconds_left)) return not_measured;
    running_left += job.seconds_left;
    longest = std::max(longest, job.seconds_left);
  }
  if (planned == 0) return longest;
  if (!(work > 0) || now.jobs.empty()) return not_measured;
  return std::max(longest, (running_left + planned * busy / work) / static_cast<double>(now.jobs.size()));
}

}  // namespace recite
