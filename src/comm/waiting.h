// How a rank waits without burning a core: it yields while the answer may come at once, then sleeps between looks.
#pragma once

#include <chrono>
#include <functional>

#include "comm/collective.h"

namespace recite {

// Calls `done` until it returns true. Between looks it calls `while_waiting` (which may throw) about every millisecond.
// Throws PeerLost, naming `what`, after `deadline` seconds.
void wait_until(const std::function<bool()>& done, const std::function<void()>& while_waiting, double deadline,
                const char* what);

}  // namespace recite
