// What the machine at hand has, as far as a process can tell before MPI starts.
#pragma once

#include "config/sweep_file.h"

namespace recite {

// `workers` as given; a GPU when this process sees one.
Machine this_machine(int workers);

}  // namespace recite
