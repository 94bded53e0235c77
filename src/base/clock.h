// The two clocks: one that only goes forward, for how long something took, and the calendar's, for when it happened.
#pragma once

#include <chrono>

namespace recite {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Seconds since 1970, as the results file has them.
inline double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace recite
