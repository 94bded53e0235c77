// The one writer of a results file: SWMR, append-only, readable at every moment by any number of readers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "results/rows.h"

namespace recite {

// Holds the writer lock (results/lock.h) and the open file. Each append is flushed to readers before it returns; sync()
// also forces it to the disk. Throws Error with the path and the system's reason when a write fails (disk full, folder
// gone) or another writer has taken over; the rows written before stay readable, and nothing more is written. Ignores
// SIGXFSZ from then on. While it lives, read_results() in the same process shares its open file.
class ResultsWriter {
 public:
  // Creates the file, or opens it to append: takes the lock, recovers it if its last writer was killed (drops rows that
  // were not written whole). Throws UsageError when the file cannot be written, is locked by a live writer (says by
  // whom), is no results file, or has another format_version or sweep name (says what differs).
  ResultsWriter(const std::string& path, const std::string& sweep_name);
  ~ResultsWriter();
  ResultsWriter(ResultsWriter&&) noexcept;
  ResultsWriter& operator=(ResultsWriter&&) noexcept;

  // Throw UsageError where sweep_text or spec is too long, before anything is written.
  int32_t add_run(RunRow row);  // fills run and epoch; returns the row number
  int32_t add_job(JobRow row);  // fills job; returns the row number
  void append(const EventRow& row);
  void append(const EvaluationRow& row);
  void append(const TrainingRow& row);

  void sync();            // fsync: at the end of each job and every 10 s
  int64_t epoch() const;  // of the lock: one more than any writer before

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What the constructor would refuse, without creating or changing anything: for checks before the start.
void check_results_writable(const std::string& path, const std::string& sweep_name);

}  // namespace recite
