// A second process that ends this one when it stands still. MPI notices a rank that has died, never one that is stopped
// or loops: its guard makes a dead rank of it, which the coordinator and the group then recover from.
#pragma once

#include <memory>

namespace recite {

class Guard {
 public:
  // Forks: called before MPI and threads start. The guard ends with this process, whichever way it ends.
  Guard();
  ~Guard();
  Guard(const Guard&) = delete;

  // From now on: SIGKILL after `seconds` without a beat. 0: rest.
  void watch(double seconds);
  void beat();

 private:
  struct Pulse;
  [[noreturn]] static void keep_watch(const Pulse& pulse, int watched);

  std::shared_ptr<Pulse> pulse_;  // a page that both processes see
  int guard_ = -1;
};

}  // namespace recite
