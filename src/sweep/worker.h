// A worker rank: waits for tries, runs them, and lives on when one of them fails.
#pragma once

#include "comm/transport.h"
#include "sweep/guard.h"

namespace recite {

// Serves the coordinator until it says quit. Returns whether some rank of the run was lost (for Transport::leave).
// `guard` watches over it while a try runs; null: nobody does. Throws CoordinatorLost.
bool run_worker(Transport& transport, Guard* guard = nullptr);

}  // namespace recite
