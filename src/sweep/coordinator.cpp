#include "sweep/coordinator.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/host.h"
#include "base/text.h"
#include "results/writer.h"
#include "sweep/ledger.h"
#include "sweep/outlook.h"
#include "sweep/progress.h"
#include "sweep/resume.h"
#include "sweep/run_record.h"
#include "sweep/stop_signal.h"
#include "train/checkpoint.h"

namespace recite {

namespace {

class Coordinator {
 public:
  Coordinator(Transport& transport, const std::vector<WorkerInfo>& workers, const SweepRun& run);
  ExitCode run();

 private:
  void set_up_workers();
  void plan_jobs();
  void loop();
  bool hear();  // true when a message was handled
  void handle(int from, const TryEnded& word);
  void abandon(const TryId& id);
  void bury_lost_workers();
  void start_tries();
  void settle(const Verdict& verdict);
  void heed_stop_wishes();
  ExitCode finish();

  std::string folder_of(const LedgerEntry& entry) const { return job_folder(run_.results_path, entry.job); }
  std::string log_path(int rank) const;
  const Hello& hello_of(int rank) const;
  void record(int32_t job, int32_t attempt, JobState state, int64_t step, int ranks, const std::string& host,
              const std::string& message);
  void drain(const std::string& why);

  Transport& transport_;
  const std::vector<WorkerInfo>& workers_;
  const SweepRun& run_;
  ResultsWriter writer_;
  int32_t run_number_ = 0;
  Ledger ledger_;
  Outlook outlook_;
  ProgressView view_;
  Clock::time_point synced_ = Clock::now();
  bool quit_now_ = false;
};

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
      entries_to_resume(run_.sweep.jobs, read_results(run_.results_path), run_.retry_failed, run_.results_path);
  for (LedgerEntry& entry : entries) {
    const bool is_new = entry.row < 0;
    if (is_new) entry.row = writer_.add_job(job_record(entry.job));
    if (is_new || entry.was != entry.state) record(entry.row, entry.attempt, entry.state, 0, 0, "", entry.why);
  }
  writer_.sync();
  std::map<std::string, int> reasons;
  for (const LedgerEntry& entry : entries)
    if (!entry.why.empty() && entry.state == JobState::planned && entry.was == JobState::done) ++reasons[entry.why];
  ledger_ = Ledger(std::move(entries), run_.sweep.spec.max_tries);
  for (const WorkerInfo& worker : workers_) ledger_.worker_arrived(worker.rank);
  view_.say(fmt::format("{}: {}, {} to do, {} done before; {} ({}); results in {}", run_.sweep.spec.name,
                        counted(static_cast<int64_t>(ledger_.entries().size()), "job"),
                        ledger_.count(JobState::planned), ledger_.count(JobState::done),
                        counted(static_cast<int64_t>(workers_.size()), "worker"), transport_.description(),
                        run_.results_path));
  for (const auto& [why, jobs] : reasons) view_.say(fmt::format("{} done before: {}", jobs, why));
  if (const int failed = ledger_.count(JobState::failed); failed > 0)
    view_.say(fmt::format("{} failed before, left alone: --retry-failed tries them again, `recite status {}` says why",
                          failed, run_.results_path));
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
    heed_stop_wishes();  // first: what is lost after that was killed with the run
    start_tries();
    bool heard = false;
    while (hear()) heard = true;
    bury_lost_workers();
    if (view_.due()) view_.update(outlook_.snapshot(ledger_));
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
  if (const auto* report = std::get_if<ProgressReport>(&said); report != nullptr && ledger_.is_current(report->id))
    outlook_.reported(*report);
  if (const auto* point = std::get_if<MeasuredPoint>(&said); point != nullptr && ledger_.is_current(point->id)) {
    EvaluationRow row = point->row;
    row.job = point->id.job;
    row.attempt = point->id.attempt;
    row.run = run_number_;
    writer_.append(row);
    ledger_.measured(point->id, row);
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
  else if (word.state == JobState::failed || word.state == JobState::lost)
    abandon(word.id);
}

// The others of the group wait for a rank in a collective operation, and are told not to. One that is deaf, too, is
// ended by its guard.
void Coordinator::abandon(const TryId& id) {
  for (const int rank : ledger_.unfinished_ranks(id)) transport_.send(rank, encode(AbandonTry{id}));
}

void Coordinator::bury_lost_workers() {
  for (const int rank : transport_.take_lost_ranks()) {
    const Hello& hello = hello_of(rank);
    const std::string text = fmt::format("worker {} (pid {}) was lost", rank, hello.pid);
    record(-1, 0, JobState::lost, 0, static_cast<int>(ledger_.workers_alive()) - 1, hello.host, text);
    view_.say(fmt::format("{} on {}; left: {}", text, hello.host,
                          counted(static_cast<int64_t>(ledger_.workers_alive()) - 1, "worker")));
    const std::optional<TryId> its_try = ledger_.try_of(rank);
    if (const std::optional<Verdict> verdict = ledger_.worker_lost(rank))
      settle(*verdict);
    else if (its_try)
      abandon(*its_try);
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
    start.measured_step = entry.measured_step;
    start.measured = entry.measured;
    for (const int rank : given->ranks) transport_.send(rank, encode(start));
    outlook_.started(given->id);
    const int64_t step = newest_checkpoint_step(start.folder).value_or(0);
    if (step > 0 && !start.evaluate_only) view_.say(fmt::format("{} goes on at step {}", entry.job.label(), step));
    record(given->id.job, given->id.attempt, JobState::running, step, start.job.ranks,
           hello_of(given->ranks.front()).host, "");
  }
}

void Coordinator::settle(const Verdict& verdict) {
  const LedgerEntry& entry = ledger_.entries()[verdict.entry];
  const auto [seconds, accuracy] = outlook_.ended(verdict.id, entry.job, verdict.state);
  record(verdict.id.job, verdict.id.attempt, verdict.state, verdict.step, verdict.ranks, hello_of(verdict.leader).host,
         verdict.message);
  if (verdict.again)
    record(verdict.id.job, verdict.id.attempt, JobState::planned, verdict.step, 0, "",
           ledger_.draining() ? "for the next run"
                              : fmt::format("try {} of {} of this run", entry.failures + 1, run_.sweep.spec.max_tries));
  writer_.sync();
  synced_ = Clock::now();
  if (verdict.state == JobState::done) discard_checkpoints(folder_of(entry));
  std::string line = fmt::format("{:<8} {} in {}", name_of(verdict.state), entry.job.label(), duration(seconds));
  if (verdict.state == JobState::done && std::isfinite(accuracy))
    line += fmt::format(", string accuracy {:.3f}", accuracy);
  if (!verdict.message.empty()) line += ": " + verdict.message;
  if (verdict.again) line += ledger_.draining() ? "; the next run tries it again" : "; it is tried again";
  view_.say(line);
}

void Coordinator::heed_stop_wishes() {
  const int signals = stop_signals_seen();
  if (signals > 0) drain("asked to stop; running jobs write a checkpoint (once more: end at once)");
  if (signals > 1) quit_now_ = true;
  if (run_.max_hours > 0 && outlook_.elapsed() > run_.max_hours * 3600)
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
                        static_cast<int>(ledger_.entries().size()) - done - failed, duration(outlook_.elapsed()),
                        complete ? "" : "; the same command goes on"));
  return code;
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
  std::map<int, Hello> arrived;  // and not lost since
  std::set<int> lost;
  while (static_cast<int>(arrived.size() + lost.size()) < transport.size() - 1) {
    for (const int rank : transport.take_lost_ranks()) {
      lost.insert(rank);
      arrived.erase(rank);
    }
    const std::optional<Message> message = transport.receive();
    if (!message) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    const ToCoordinator said = decode_for_coordinator(message->body);
    if (const auto* hello = std::get_if<Hello>(&said); hello != nullptr && !lost.contains(message->from))
      arrived[message->from] = *hello;
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
