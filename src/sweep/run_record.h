// The row of /runs that says who wrote to a results file, with what, and where.
#pragma once

#include <string>
#include <vector>

#include "comm/transport.h"
#include "results/rows.h"
#include "sweep/coordinator.h"

namespace recite {

RunRow run_record(const std::string& command, const std::string& sweep_text, const std::vector<WorkerInfo>& workers,
                  const Transport& transport);

}  // namespace recite
