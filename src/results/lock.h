// Who may write a results file: the sidecar PATH.lock, which a lock of the operating system and its contents guard
// together.
//
// The sidecar is locked with flock as long as its writer lives: on one host (and where flock reaches other hosts)
// nobody else gets it, and a dead writer frees it at once. Its contents, JSON, hold where flock does not reach: {epoch,
// host, pid, run, time}. The writer renews `time`; on another host a writer that has been silent for silence_limit
// seconds counts as dead. Each writer takes an epoch one higher than any before it, and gives up when it finds that the
// sidecar is no longer its own: an old script that lives on after it was replaced is kept out. pid 0: nobody. The
// sidecar stays where it is, so that the epoch does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "results/descriptor.h"

namespace recite {

constexpr double silence_limit = 60;   // seconds
constexpr double renewal_period = 10;  // seconds

struct LockHolder {
  int64_t epoch = 0;
  std::string host;
  int64_t pid = 0;   // 0: nobody
  int32_t run = -1;  // row of /runs; -1: not known yet
  double time = 0;   // last renewed, Unix seconds
};

std::string lock_path(const std::string& results_path);

// What the sidecar says; nullopt when there is none or it says nothing.
std::optional<LockHolder> read_lock(const std::string& results_path);

// Whether the holder may still be at work: its process lives on this host, or it is on another one and not silent yet.
bool may_be_writing(const LockHolder& holder);

// Throws UsageError naming the holder if a writer lives. Changes nothing.
void refuse_if_locked(const std::string& results_path);

class WriterLock {
 public:
  // Takes the lock with an epoch above the sidecar's and above `last_epoch`. Throws UsageError when a writer lives or
  // the sidecar cannot be written.
  WriterLock(const std::string& results_path, int64_t last_epoch);
  ~WriterLock();  // gives it back, if it is still ours
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

  // Says that the writer lives. Throws Error when another writer took over, or the sidecar cannot be written.
  void renew();

  // The same, if the last time is more than renewal_period ago. A process that was stopped and goes on later finds out
  // here, before it writes again.
  void renew_if_due();

  void set_run(int32_t run) { own_.run = run; }
  int64_t epoch() const { return own_.epoch; }

 private:
  bool is_ours() const;
  void write(const LockHolder& holder);

  std::string results_path_;
  Descriptor sidecar_;  // holds the flock
  LockHolder own_;
  double renewed_ = 0;  // on a clock that goes on while the host sleeps
};

}  // namespace recite
