// What people see while a sweep runs: a live block on a terminal, plain lines elsewhere.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "base/clock.h"
#include "results/rows.h"

namespace recite {

struct RunningJob {
  std::string label;
  std::string phase;
  int64_t step = 0;
  int64_t steps = 0;
  double loss = not_measured;
  double accuracy = not_measured;
  double tokens_per_second = not_measured;
  double seconds_left = not_measured;
};

struct SweepSnapshot {
  int planned = 0, running = 0, done = 0, failed = 0, stopped = 0;
  size_t workers = 0;
  double elapsed = 0;                  // seconds of this run
  double seconds_left = not_measured;  // of the whole sweep
  bool draining = false;
  std::vector<RunningJob> jobs;

  int total() const { return planned + running + done + failed + stopped; }
};

// Lines of at most `columns` characters: the sweep first, then one line a running job.
std::vector<std::string> progress_lines(const SweepSnapshot& snapshot, int columns);

class ProgressView {
 public:
  // columns 0: `out` is no terminal.
  ProgressView(std::ostream& out, int columns);
  ~ProgressView();

  bool due() const;  // is it time for the next update()
  void update(const SweepSnapshot& snapshot);
  void say(const std::string& line);  // a line that stays

 private:
  void erase_block();

  std::ostream& out_;
  int columns_;
  size_t block_lines_ = 0;
  Clock::time_point last_{};
};

// Columns of the terminal that standard output ends in, 0 when it is none. Under mpirun it is a pipe, and the launcher
// says in RECITE_COLUMNS what it ends in.
int terminal_columns();

}  // namespace recite
