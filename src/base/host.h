#pragma once

#include <string>

namespace recite {

// The name that this machine goes by in logs, locks and the results file.
std::string host_name();

// Cores that this process may run on: with a batch system often fewer than the host has.
int available_cores();

}  // namespace recite
