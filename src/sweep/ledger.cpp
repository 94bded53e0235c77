#include "sweep/ledger.h"

#include <algorithm>

namespace recite {

Ledger::Ledger(std::vector<LedgerEntry> entries, int max_tries) : entries_(std::move(entries)), max_tries_(max_tries) {}

void Ledger::worker_arrived(int rank) {
  alive_.insert(rank);
  idle_.insert(rank);
}

int Ledger::group_size(const Job& job) const {
  const int alive = static_cast<int>(alive_.size());
  if (job.ranks <= alive) return job.ranks;
  int size = alive;
  while (size > 1 && !can_be_shared(job, size)) --size;
  return size;
}

std::optional<Assignment> Ledger::start_next() {
  if (draining_) return std::nullopt;
  const auto planned = std::find_if(entries_.begin(), entries_.end(),
                                    [](const LedgerEntry& entry) { return entry.state == JobState::planned; });
  if (planned == entries_.end() || alive_.empty()) return std::nullopt;
  const auto wanted = static_cast<size_t>(group_size(planned->job));
  if (idle_.size() < wanted) return std::nullopt;

  planned->state = JobState::running;
  planned->attempt += 1;
  Running running;
  running.entry = static_cast<size_t>(planned - entries_.begin());
  running.id = {planned->row, planned->attempt};
  // Neighbouring ranks share a host: mpirun numbers host by host.
  running.ranks.assign(idle_.begin(), std::next(idle_.begin(), static_cast<std::ptrdiff_t>(wanted)));
  for (const int rank : running.ranks) {
    idle_.erase(rank);
    running.waiting_for.insert(rank);
  }
  running_.push_back(running);
  return Assignment{running.entry, running.id, running.ranks};
}

void Ledger::worsen(Running& running, JobState state, int64_t step, const std::string& message) {
  const auto badness = [](JobState s) {
    switch (s) {
      case JobState::failed:
        return 3;
      case JobState::lost:
        return 2;
      case JobState::stopped:
        return 1;
      default:
        return 0;
    }
  };
  running.step = std::max(running.step, step);
  if (badness(state) < badness(running.worst)) return;
  if (state == running.worst && !running.message.empty()) return;  // of equals the first that says why
  running.worst = state;
  running.message = message;
}

std::optional<Verdict> Ledger::try_ended(int rank, const TryEnded& word) {
  const auto running =
      std::find_if(running_.begin(), running_.end(), [&](const Running& r) { return r.id == word.id; });
  if (running == running_.end() || running->waiting_for.erase(rank) == 0) return std::nullopt;
  idle_.insert(rank);
  worsen(*running, word.state, word.step, word.message);
  return end_if_complete(running);
}

std::optional<TryId> Ledger::try_of(int rank) const {
  const auto running =
      std::find_if(running_.begin(), running_.end(), [&](const Running& r) { return r.waiting_for.contains(rank); });
  return running == running_.end() ? std::nullopt : std::optional(running->id);
}

std::optional<Verdict> Ledger::worker_lost(int rank) {
  alive_.erase(rank);
  idle_.erase(rank);
  // Not of a try of which it has ended its part: from that it takes nothing, and it may be at another since.
  const auto running =
      std::find_if(running_.begin(), running_.end(), [&](const Running& r) { return r.waiting_for.contains(rank); });
  if (running == running_.end()) return std::nullopt;
  running->waiting_for.erase(rank);
  worsen(*running, JobState::lost, 0, "worker " + std::to_string(rank) + " was lost");
  return end_if_complete(running);
}

std::optional<Verdict> Ledger::end_if_complete(std::vector<Running>::iterator running) {
  if (!running->waiting_for.empty()) return std::nullopt;
  LedgerEntry& entry = entries_[running->entry];
  Verdict verdict{.entry = running->entry,
                  .id = running->id,
                  .state = running->worst,
                  .step = running->step,
                  .message = running->message,
                  .ranks = static_cast<int>(running->ranks.size()),
                  .leader = running->ranks.front()};
  running_.erase(running);
  // A rank that is lost while the run is being stopped was killed along with it: that is no failure of its job.
  if (verdict.state == JobState::failed || (verdict.state == JobState::lost && !draining_)) {
    entry.failures += 1;
    verdict.again = entry.failures < max_tries_;
    if (!verdict.again) verdict.state = JobState::failed;
  }
  entry.state = verdict.again ? JobState::planned : verdict.state;
  return verdict;
}

void Ledger::measured(const TryId& id, const EvaluationRow& row) {
  if (row.n == 0) return;
  for (const Running& running : running_) {
    if (running.id != id) continue;
    LedgerEntry& entry = entries_[running.entry];
    if (row.step != entry.measured_step) entry.measured.clear();
    entry.measured_step = row.step;
    entry.measured.push_back({parse_name<TaskKind>(row.task), row.n_gram, row.length});
  }
}

std::vector<int> Ledger::unfinished_ranks(const TryId& id) const {
  for (const Running& running : running_)
    if (running.id == id) return {running.waiting_for.begin(), running.waiting_for.end()};
  return {};
}

bool Ledger::is_current(const TryId& id) const {
  return std::any_of(running_.begin(), running_.end(), [&](const Running& r) { return r.id == id; });
}

bool Ledger::finished() const {
  if (!running_.empty()) return false;
  return draining_ || alive_.empty() || count(JobState::planned) == 0;
}

int Ledger::count(JobState state) const {
  return static_cast<int>(std::count_if(entries_.begin(), entries_.end(),
                                        [state](const LedgerEntry& entry) { return entry.state == state; }));
}

}  // namespace recite
