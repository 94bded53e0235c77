// How far the running tries are, and how long the rest of the sweep will take.
#pragma once

#include <cstdint>
#include <map>

#include "base/clock.h"
#include "sweep/ledger.h"
#include "sweep/progress.h"
#include "sweep/protocol.h"

namespace recite {

class Outlook {
 public:
  void started(const TryId& id);
  void reported(const ProgressReport& report);

  // What was known of a try when it ended. A try of a job that is done counts in the rate of work.
  struct Ended {
    double seconds = 0;
    double accuracy = not_measured;  // string accuracy measured last
  };
  Ended ended(const TryId& id, const Job& job, JobState state);

  SweepSnapshot snapshot(const Ledger& ledger) const;
  double elapsed() const { return seconds_since(begin_); }

 private:
  struct Watched {
    ProgressReport report;
    Clock::time_point started = Clock::now();
    int64_t first_step = -1;  // of this try: where its checkpoint was
  };

  RunningJob running_job(const LedgerEntry& entry) const;
  double seconds_left(const Ledger& ledger, const SweepSnapshot& now) const;

  Clock::time_point begin_ = Clock::now();
  std::map<int32_t, Watched> watched_;  // by job row
  double work_done_ = 0;                // by the done jobs of this run, in units of job_cost() ...
  double busy_seconds_ = 0;             // ... and the time that they took, each by itself
};

}  // namespace recite
