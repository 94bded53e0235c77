#pragma once

#include <string>

namespace recite {

// The name that this machine goes by in logs, locks and the results file.
std::string host_name();

}  // namespace recite
