// One try of a pretrained job on one rank of its group.
#pragma once

#include "sweep/run_job.h"

namespace recite {

// As run_job(). Stops between points: those that were measured are known to the next try (StartTry::measured).
TryResult run_pretrained(const StartTry& start, torch::Device device, Group group, TryObserver& observer);

}  // namespace recite
