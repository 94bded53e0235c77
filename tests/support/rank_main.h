// For tests that run on several MPI ranks.
#pragma once

#include <memory>

#include "comm/transport.h"

namespace recite::mpi_test {

Transport& transport();     // of this rank
extern bool rank_was_lost;  // set by a test that kills one

}  // namespace recite::mpi_test
