#include "commands/machine.h"

#include "sweep/device.h"

namespace recite {

Machine this_machine(int workers) { return {.workers = workers, .has_gpu = !gpu_names().empty()}; }

}  // namespace recite
