#include "sweep/guard.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>

#include "base/error.h"
#include "base/host.h"

namespace recite {

struct Guard::Pulse {
  std::atomic<uint64_t> beats = 0;
  std::atomic<double> limit = 0;  // seconds; 0: nobody watches
};

// Time is counted in looks, not by the clock: when both processes were stopped together, none of it has passed.
void Guard::keep_watch(const Pulse& pulse, int watched) {
  constexpr useconds_t look_every = 100'000;  // microseconds
  uint64_t last = pulse.beats;
  double quiet = 0;
  while (getppid() == watched) {
    usleep(look_every);
    const uint64_t beats = pulse.beats;
    const double limit = pulse.limit;
    quiet = beats == last && limit > 0 ? quiet + 1e-6 * look_every : 0;
    last = beats;
    if (limit == 0 || quiet < limit) continue;
    std::cerr << fmt::format("recite: process {} on {} made no progress for {} s (run.stall_timeout): it is ended\n",
                             watched, host_name(), limit);
    kill(watched, SIGKILL);
    break;
  }
  _exit(0);
}

Guard::Guard() {
  void* page = mmap(nullptr, sizeof(Pulse), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) throw Error(fmt::format("no memory for a rank's guard: {}", std::strerror(errno)));
  pulse_ = std::shared_ptr<Pulse>(new (page) Pulse, [](Pulse* pulse) { munmap(pulse, sizeof(Pulse)); });
  const pid_t watched = getpid();
  guard_ = fork();
  if (guard_ < 0) throw Error(fmt::format("cannot start a rank's guard: {}", std::strerror(errno)));
  if (guard_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  keep_watch(*pulse_, watched);
}

Guard::~Guard() {
  kill(guard_, SIGKILL);
  waitpid(guard_, nullptr, 0);
}

void Guard::watch(double seconds) {
  beat();
  pulse_->limit = seconds;
}

void Guard::beat() { pulse_->beats += 1; }

}  // namespace recite
