#include "base/build_info.h"

namespace recite {

const BuildInfo& build_info() {
  static const BuildInfo info{RECITE_VERSION, RECITE_GIT_COMMIT, RECITE_COMPILER, RECITE_BUILD_TYPE,
                              RECITE_HAS_CUDA != 0};
  return info;
}

std::string build_description() {
  const BuildInfo& info = build_info();
  return "recite " + info.version + " (" + info.compiler + ", " + info.build_type + ", " +
         (info.cuda ? "CPU and GPU)" : "CPU only)");
}

}  // namespace recite
