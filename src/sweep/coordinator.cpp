#include "sweep/coordinator.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <thread>

#include "base/text.h"
#include "results/writer.h"
#include "sweep/ledger.h"
#include "sweep/progress.h"
#include "sweep/resume.h"
#include "sweep/run_record.h"
#include "sweep/stop_signal.h"

namespace recite {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class Coordinator {
 public:
  Coordinator(Transport& transport, const std::vector<WorkerInfo>& workers, const SweepRun& run);
  ExitCode run();

 private:
  struct Watched {  // a running try, as its reports tell
    ProgressReport report;
    Clock::time_point started = Clock::now();
    int64_t first_step = -1;  // of this try: where its checkpoint was
    std::optional<Clock::time_point> abandoned;
  };

  void set_up_workers();
  void plan_jobs();
  void loop();
  bool hear();  // true when a message was handled
  void handle(int from, const TryEnded& word);
  void bury_lost_workers();
  void start_tries();
  void settle(const Verdict& verdict);
  void abandon_broken_tries();
  void kill_stuck_workers();
  void heed_stop_wishes();
  void show_progress();
  ExitCode finish();

  std::string folder_of(const LedgerEntry& entry) const { return run_.results_path + ".jobs/" + entry.job.id(); }
  std::string log_path(int rank) const;
  const Hello& hello_of(int rank) const;
  void record(int32_t job, int32_t attempt, JobState state, int64_t step, int ranks, const std::string& host,
              const std::string& message);
  void drain(const std::string& why);
  SweepSnapshot snapshot() const;
  RunningJob running_job(const LedgerEntry& entry) const;
  double estimated_seconds_left(const SweepSnapshot& now) const;

  Transport& transport_;
  const std::vector<WorkerInfo>& workers_;
  const SweepRun& run_;
  ResultsWriter writer_;
  int32_t run_number_ = 0;
  Ledger ledger_;
  std::map<int32_t, Watched> watched_;  // by job row
  std::map<int32_t, std::vector<int>> broken_;
  ProgressView view_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point synced_ = Clock::now();
  double work_done_ = 0;     // by the done jobs of this run, in units of work_of() ...
  double busy_seconds_ = 0;  // ... and the time that they took, each by itself
  bool quit_now_ = false;
};

// How much work a job is, relative to others: what the time left is extrapolated with.
double work_of(const Job& job) {
  return static_cast<double>(job.train.total_steps()) * job.train.batch_size * job.train.context_length *
         static_cast<double>(parameter_count(job.model, job.task));
}

Coordinator::Coordinator(Transport& transport, const std::vector<WorkerInfo>& workers, const SweepRun& run)
    : transport_(transport),
      workers_(workers),
      run_(run),
      writer_(run.results_path, run.sweep.spec.name),
      ledger_({}, 1),
      view_(std::cout, terminal_columns()) {}

ExitCode Coordinator::run() {
  run_number_ = writer_.add_run(run_record(run_.command, run_.sweep.text, workers_, transport_));
  record(-1, 0, JobState::running, 0, static_cast<int>(workers_.size()), host_name(), "");
  plan_jobs();
  set_up_workers();
  loop();
  return finish();
}

void Coordinator::plan_jobs() {
  std::vector<LedgerEntry> entries =
      entries_to_resume(run_.sweep.jobs, read_results(run_.results_path), run_.retry_failed,
                        [this](const LedgerEntry& e) { return folder_of(e); });
  for (LedgerEntry& entry : entries) {
    const bool is_new = entry.row < 0;
    if (is_new) entry.row = writer_.add_job(job_record(entry.job));
    if (is_new || entry.was != entry.state) record(entry.row, entry.attempt, entry.state, 0, 0, "", entry.why);
  }
  writer_.sync();
  ledger_ = Ledger(std::move(entries), run_.sweep.spec.max_tries);
  for (const WorkerInfo& worker : workers_) ledger_.worker_arrived(worker.rank);
  view_.say(fmt::format("{}: {} jobs, {} to do, {} done before; {} workers ({}); results in {}", run_.sweep.spec.name,
                        ledger_.entries().size(), ledger_.count(JobState::planned), ledger_.count(JobState::done),
                        workers_.size(), transport_.description(), run_.results_path));
  if (!transport_.survives_lost_ranks() && workers_.size() > 1)
    view_.say("note: this MPI runs without ULFM, so the loss of a rank ends the run; the same command goes on");
}

void Coordinator::set_up_workers() {
  std::map<std::string, int> on_host;
  for (const WorkerInfo& worker : workers_) on_host[worker.hello.host] += 1;
  std::map<std::string, int> index;
  for (const WorkerInfo& worker : workers_) {
    const Hello& hello = worker.hello;
    const int asked = run_.sweep.jobs.front().run.threads;
    Setup setup;
    setup.device_index = index[hello.host]++;
    setup.threads = asked > 0 ? asked : std::max(1, hello.cores / on_host[hello.host]);
    setup.shares_gpu = static_cast<int>(hello.gpus.size()) < on_host[hello.host];
    setup.log_path = log_path(worker.rank);
    transport_.send(worker.rank, encode(setup));
  }
}

void Coordinator::loop() {
  while (!ledger_.finished() && !quit_now_) {
    start_tries();
    bool heard = false;
    while (hear()) heard = true;
    bury_lost_workers();
    abandon_broken_tries();
    kill_stuck_workers();
    heed_stop_wishes();
    if (view_.due()) show_progress();
    constexpr double sync_every = 10;  // seconds
    if (seconds_since(synced_) >= sync_every) {
      writer_.sync();
      synced_ = Clock::now();
    }
    if (!heard) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

bool Coordinator::hear() {
  const std::optional<Message> message = transport_.receive();
  if (!message) return false;
  const ToCoordinator said = decode_for_coordinator(message->body);
  if (const auto* report = std::get_if<ProgressReport>(&said); report != nullptr && ledger_.is_current(report->id)) {
    Watched& watched = watched_[report->id.job];
    if (watched.first_step < 0) {
      watched.first_step = report->step;
      watched.started = Clock::now();
    }
    watched.report = *report;
  }
  if (const auto* point = std::get_if<MeasuredPoint>(&said); point != nullptr && ledger_.is_current(point->id)) {
    EvaluationRow row = point->row;
    row.job = point->id.job;
    row.attempt = point->id.attempt;
    row.run = run_number_;
    writer_.append(row);
  }
  if (const auto* step = std::get_if<LoggedStep>(&said); step != nullptr && ledger_.is_current(step->id)) {
    TrainingRow row = step->row;
    row.job = step->id.job;
    row.attempt = step->id.attempt;
    row.run = run_number_;
    writer_.append(row);
  }
  if (const auto* word = std::get_if<TryEnded>(&said)) handle(message->from, *word);
  return true;
}

void Coordinator::handle(int from, const TryEnded& word) {
  TryEnded named = word;
  if (word.state == JobState::failed) named.message += fmt::format(" (log: {})", log_path(from));
  const std::optional<Verdict> verdict = ledger_.try_ended(from, named);
  if (verdict)
    settle(*verdict);
  else if ((word.state == JobState::failed || word.state == JobState::lost) && ledger_.is_current(word.id))
    broken_[word.id.job] = ledger_.unfinished_ranks(word.id);
}

void Coordinator::bury_lost_workers() {
  for (const int rank : transport_.take_lost_ranks()) {
    const Hello& hello = hello_of(rank);
    const std::string text = fmt::format("worker {} (pid {}) was lost", rank, hello.pid);
    record(-1, 0, JobState::lost, 0, static_cast<int>(ledger_.workers_alive()) - 1, hello.host, text);
    view_.say(fmt::format("{} on {}: {} workers go on", text, hello.host, ledger_.workers_alive() - 1));
    if (const std::optional<Verdict> verdict = ledger_.worker_lost(rank)) settle(*verdict);
  }
}

void Coordinator::start_tries() {
  while (const std::optional<Assignment> given = ledger_.start_next()) {
    const LedgerEntry& entry = ledger_.entries()[given->entry];
    StartTry start;
    start.id = given->id;
    start.job = entry.job;
    start.job.ranks = static_cast<int>(given->ranks.size());
    start.ranks = given->ranks;
    start.group_name = fmt::format("recite-{}-{}-{}", run_number_, given->id.job, given->id.attempt);
    start.folder = folder_of(entry);
    start.evaluate_only = entry.evaluate_only;
    for (const int rank : given->ranks) transport_.send(rank, encode(start));
    watched_[given->id.job] = {};
    record(given->id.job, given->id.attempt, JobState::running, 0, start.job.ranks, hello_of(given->ranks.front()).host,
           "");
  }
}

void Coordinator::settle(const Verdict& verdict) {
  const LedgerEntry& entry = ledger_.entries()[verdict.entry];
  const double took = seconds_since(watched_[verdict.id.job].started);
  const double accuracy = watched_[verdict.id.job].report.accuracy;
  record(verdict.id.job, verdict.id.attempt, verdict.state, verdict.step, verdict.ranks, "", verdict.message);
  if (verdict.again)
    record(verdict.id.job, verdict.id.attempt, JobState::planned, verdict.step, 0, "",
           fmt::format("try {} of {} of this run", entry.failures + 1, run_.sweep.spec.max_tries));
  writer_.sync();
  synced_ = Clock::now();
  if (verdict.state == JobState::done) {
    work_done_ += work_of(entry.job);
    busy_seconds_ += took;
    discard_checkpoints(folder_of(entry));
  }
  watched_.erase(verdict.id.job);
  broken_.erase(verdict.id.job);
  std::string line = fmt::format("{:<8} {} in {}", name_of(verdict.state), entry.job.label(), duration(took));
  if (verdict.state == JobState::done && std::isfinite(accuracy))
    line += fmt::format(", string accuracy {:.3f}", accuracy);
  if (!verdict.message.empty()) line += ": " + verdict.message;
  if (verdict.again) line += "; it is tried again";
  view_.say(line);
}

// One rank of a group has failed: the others wait for it in a collective operation, and are told not to.
void Coordinator::abandon_broken_tries() {
  for (auto& [job, ranks] : broken_) {
    Watched& watched = watched_[job];
    if (watched.abandoned) continue;
    watched.abandoned = Clock::now();
    for (const LedgerEntry& entry : ledger_.entries())
      if (entry.row == job)
        for (const int rank : ranks) transport_.send(rank, encode(AbandonTry{{job, entry.attempt}}));
  }
}

// A rank that does not answer to that is stuck outside of MPI; on this host it can be ended, and is then lost.
void Coordinator::kill_stuck_workers() {
  constexpr double patience = 30;  // seconds
  for (auto& [job, ranks] : broken_) {
    const Watched& watched = watched_[job];
    if (!watched.abandoned || seconds_since(*watched.abandoned) < patience) continue;
    for (const int rank : ranks)
      if (const Hello& hello = hello_of(rank); hello.host == host_name() && hello.pid != getpid())
        ::kill(static_cast<pid_t>(hello.pid), SIGKILL);
    ranks.clear();
  }
}

void Coordinator::heed_stop_wishes() {
  const int signals = stop_signals_seen();
  if (signals > 0) drain("asked to stop; running jobs write a checkpoint (once more: end at once)");
  if (signals > 1) quit_now_ = true;
  if (run_.max_hours > 0 && seconds_since(begin_) > run_.max_hours * 3600)
    drain(fmt::format("{} hours are over; running jobs write a checkpoint", run_.max_hours));
}

void Coordinator::drain(const std::string& why) {
  if (ledger_.draining()) return;
  ledger_.drain();
  view_.say(why);
  for (const WorkerInfo& worker : workers_) transport_.send(worker.rank, encode(Drain{}));
}

ExitCode Coordinator::finish() {
  const int failed = ledger_.count(JobState::failed);
  const int done = ledger_.count(JobState::done);
  const bool complete = failed + done == static_cast<int>(ledger_.entries().size());
  const ExitCode code = !complete ? ExitCode::stopped : failed > 0 ? ExitCode::jobs_failed : ExitCode::done;
  record(-1, 0, complete ? (failed > 0 ? JobState::failed : JobState::done) : JobState::stopped, 0,
         static_cast<int>(ledger_.workers_alive()), host_name(), "");
  writer_.sync();
  view_.say(fmt::format("{} done, {} failed, {} left in {}{}", done, failed,
                        static_cast<int>(ledger_.entries().size()) - done - failed, duration(seconds_since(begin_)),
                        complete ? "" : "; the same command goes on"));
  return code;
}

void Coordinator::show_progress() { view_.update(snapshot()); }

SweepSnapshot Coordinator::snapshot() const {
  SweepSnapshot s;
  s.planned = ledger_.count(JobState::planned);
  s.running = ledger_.count(JobState::running);
  s.done = ledger_.count(JobState::done);
  s.failed = ledger_.count(JobState::failed);
  s.stopped = ledger_.count(JobState::stopped);
  s.workers = ledger_.workers_alive();
  s.elapsed = seconds_since(begin_);
  s.draining = ledger_.draining();
  for (const LedgerEntry& entry : ledger_.entries())
    if (entry.state == JobState::running) s.jobs.push_back(running_job(entry));
  s.seconds_left = estimated_seconds_left(s);
  return s;
}

RunningJob Coordinator::running_job(const LedgerEntry& entry) const {
  const Watched& watched = watched_.at(entry.row);
  const ProgressReport& report = watched.report;
  RunningJob job{entry.job.label(),
                 report.phase.empty() ? "starting" : report.phase,
                 report.step,
                 entry.job.train.total_steps(),
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
double Coordinator::estimated_seconds_left(const SweepSnapshot& now) const {
  double work = work_done_, busy = busy_seconds_, planned = 0, running_left = 0, longest = 0;
  for (const LedgerEntry& entry : ledger_.entries()) {
    if (entry.state == JobState::planned) planned += work_of(entry.job);
    if (entry.state != JobState::running) continue;
    const Watched& watched = watched_.at(entry.row);
    const auto taken = static_cast<double>(watched.report.step - std::max<int64_t>(watched.first_step, 0));
    work += work_of(entry.job) * taken / static_cast<double>(entry.job.train.total_steps());
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

std::string Coordinator::log_path(int rank) const {
  return fmt::format("{}.logs/{}-{}.log", run_.results_path, hello_of(rank).host, rank);
}

const Hello& Coordinator::hello_of(int rank) const {
  const auto worker =
      std::find_if(workers_.begin(), workers_.end(), [rank](const WorkerInfo& w) { return w.rank == rank; });
  if (worker == workers_.end()) throw Error(fmt::format("no worker has rank {}", rank));
  return worker->hello;
}

void Coordinator::record(int32_t job, int32_t attempt, JobState state, int64_t step, int ranks, const std::string& host,
                         const std::string& message) {
  writer_.append(EventRow{job, attempt, run_number_, unix_time(), state, step, ranks, host, message});
}

}  // namespace

std::vector<WorkerInfo> gather_workers(Transport& transport) {
  std::map<int, Hello> arrived;
  int lost = 0;
  while (static_cast<int>(arrived.size()) + lost < transport.size() - 1) {
    lost += static_cast<int>(transport.take_lost_ranks().size());
    const std::optional<Message> message = transport.receive();
    if (!message) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    const ToCoordinator said = decode_for_coordinator(message->body);
    if (const auto* hello = std::get_if<Hello>(&said)) arrived[message->from] = *hello;
  }
  if (arrived.empty()) throw Error("no worker is there: start at least two ranks (launch/recite -n 1 ...)");
  std::vector<WorkerInfo> workers;
  for (const auto& [rank, hello] : arrived) workers.push_back({rank, hello});
  return workers;
}

ExitCode coordinate(Transport& transport, const std::vector<WorkerInfo>& workers, const SweepRun& run) {
  return Coordinator(transport, workers, run).run();
}

}  // namespace recite
