#include "comm/waiting.h"

#include <fmt/format.h>
#include <sched.h>

#include <limits>
#include <thread>

#include "base/clock.h"

namespace recite {

void wait_until(const std::function<bool()>& done, const std::function<void()>& while_waiting, double deadline,
                const char* what) {
  constexpr auto short_wait = std::chrono::milliseconds(2);  // a reduction among healthy ranks of one host
  constexpr auto look_every = std::chrono::microseconds(50);
  constexpr auto ask_every = std::chrono::milliseconds(1);

  const auto begin = Clock::now();
  auto asked = begin;
  while (!done()) {
    const auto now = Clock::now();
    if (while_waiting && now - asked >= ask_every) {
      while_waiting();
      asked = now;
    }
    if (now - begin > std::chrono::duration<double>(deadline))
      throw PeerLost(fmt::format("{}: no answer from a rank of the group for {} s", what, deadline));
    if (now - begin < short_wait)
      sched_yield();
    else
      std::this_thread::sleep_for(look_every);
  }
}

// Work that no peer takes part in ends by itself.
void Collective::wait(const std::function<bool()>& done, const char* what) {
  wait_until(done, nullptr, std::numeric_limits<double>::infinity(), what);
}

}  // namespace recite
