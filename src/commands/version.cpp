#include <fmt/format.h>
#include <torch/version.h>

#include <boost/version.hpp>

#include "base/build_info.h"
#include "base/error.h"
#include "comm/transport.h"
#include "commands/commands.h"
#include "results/reader.h"

namespace recite {

int version_command(const std::vector<std::string>& arguments) {
  if (arguments_of("version", arguments).help) return static_cast<int>(ExitCode::done);
  const std::string& commit = build_info().git_commit;
  const std::string nccl = nccl_version();
  fmt::print("{}\n", build_description());
  fmt::print("commit {}\n", commit.empty() ? "unknown: not built in a git checkout" : commit);
  fmt::print("LibTorch {}\n", TORCH_VERSION);
  fmt::print("{}\n", mpi_library_version());
  fmt::print("{}\n", nccl.empty() ? "no NCCL: a CPU build" : nccl);
  fmt::print("{}\n", results_library_version());
  fmt::print("Boost {}.{}.{}\n", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100);
  fmt::print("nlohmann-json {}.{}.{}\n", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
             NLOHMANN_JSON_VERSION_PATCH);
  fmt::print("fmt {}.{}.{}\n", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100);
  return static_cast<int>(ExitCode::done);
}

}  // namespace recite
