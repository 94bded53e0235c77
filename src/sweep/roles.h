// Who this process is: one rank of an mpirun, or the coordinator and the one worker at once.
#pragma once

#include <functional>

#include "base/error.h"
#include "sweep/coordinator.h"

namespace recite {

// Under mpirun, rank 0 calls `lead` with the workers that have arrived, and the other ranks serve it; without mpirun
// this process does both. Returns the exit code of the whole run.
//
// mpirun's own exit code proves nothing, and a rank that ends with another code than 0 counts as crashed: so under the
// launcher rank 0 leaves the code of the run in the file that RECITE_EXIT_CODE_FILE names, and returns 0.
// What `lead` throws is reported on standard error as `recite VERB: ...` and becomes the exit code.
int run_roles(const std::string& verb, const std::function<ExitCode(Transport&, const std::vector<WorkerInfo>&)>& lead);

// What `auto` devices are resolved with: a sweep runs on GPUs when every worker sees one.
bool every_worker_has_gpu(const std::vector<WorkerInfo>& workers);

}  // namespace recite
