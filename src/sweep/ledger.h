// The coordinator's book of jobs: what state each is in, how often it was tried, and who works on it. Pure bookkeeping:
// it talks to nobody, and every rule of scheduling stands here.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "results/rows.h"
#include "sweep/protocol.h"

namespace recite {

struct LedgerEntry {
  Job job;
  int32_t row = -1;                  // in /jobs; -1: not there yet
  JobState was = JobState::planned;  // before this run
  JobState state = JobState::planned;
  std::string why;      // it is planned, though it was not
  int32_t attempt = 0;  // tries so far, those of earlier runs included
  int failures = 0;     // tries of this run that failed or lost a rank
  bool evaluate_only = false;
  int64_t measured_step = 0;        // the last at which a point was measured (of a pretrained job 0)
  std::vector<EvalPoint> measured;  // there, by any of its tries
};

// What to tell the workers of a new group.
struct Assignment {
  size_t entry = 0;
  TryId id;
  std::vector<int> ranks;
};

// What the end of a try means for its job.
struct Verdict {
  size_t entry = 0;
  TryId id;
  JobState state = JobState::done;  // done, failed, lost, stopped
  int64_t step = 0;
  std::string message;
  int ranks = 0;
  int leader = 0;      // a rank
  bool again = false;  // it is planned again
};

class Ledger {
 public:
  // `entries` in the order in which jobs shall start (biggest first).
  Ledger(std::vector<LedgerEntry> entries, int max_tries);

  void worker_arrived(int rank);
  // The try that waits for that rank's part, if there is one.
  std::optional<TryId> try_of(int rank) const;
  // A lost rank takes its group's try with it. Returns the try's end if the lost rank was the last one waited for.
  std::optional<Verdict> worker_lost(int rank);

  // The next planned job and idle workers for it, or nothing: no job is planned, or too few are idle. A job takes
  // job.ranks workers, or, when fewer than that are left alive, the most that can share it.
  std::optional<Assignment> start_next();

  // One rank's word that its part of a try has ended. The try ends when every living rank of its group has said so; the
  // worst word counts (failed, then lost, then stopped, then done).
  std::optional<Verdict> try_ended(int rank, const TryEnded& word);

  // The job's next try need not measure that point of the same weights again, unless it was not run (n = 0), of which
  // each try says why.
  void measured(const TryId& id, const EvaluationRow& row);

  // Ranks of the try that have not ended their part: they must be told to abandon it once one of them failed.
  std::vector<int> unfinished_ranks(const TryId& id) const;
  bool is_current(const TryId& id) const;

  void drain() { draining_ = true; }  // start nothing more
  bool draining() const { return draining_; }
  bool finished() const;  // nothing runs, and nothing is planned or can be started
  const std::vector<LedgerEntry>& entries() const { return entries_; }
  size_t workers_alive() const { return alive_.size(); }
  int count(JobState state) const;

 private:
  struct Running {
    size_t entry;
    TryId id;
    std::vector<int> ranks;
    std::set<int> waiting_for;  // living ranks that have not ended their part
    JobState worst = JobState::done;
    int64_t step = 0;
    std::string message;
  };

  int group_size(const Job& job) const;
  void worsen(Running& running, JobState state, int64_t step, const std::string& message);
  std::optional<Verdict> end_if_complete(std::vector<Running>::iterator running);

  std::vector<LedgerEntry> entries_;
  int max_tries_;
  bool draining_ = false;
  std::set<int> alive_;
  std::set<int> idle_;
  std::vector<Running> running_;
};

}  // namespace recite
