// What this program was built from; recorded with every run.
#pragma once

#include <string>

namespace recite {

struct BuildInfo {
  std::string version;     // "0.1.0"
  std::string git_commit;  // at configure time; "" outside a checkout; "-dirty" when it had changes
  std::string compiler;    // "GNU 12.2.0"
  std::string build_type;  // "RelWithDebInfo"
  bool cuda = false;       // built with GPU support
};

const BuildInfo& build_info();

// "recite 0.1.0 (GNU 12.2.0, RelWithDebInfo, CPU only)"
std::string build_description();

}  // namespace recite
