#include "sweep/run_record.h"

#include <fmt/format.h>
#include <torch/version.h>

#include <map>

#include "base/build_info.h"
#include "base/clock.h"
#include "results/reader.h"

namespace recite {

namespace {

// "node1:4 node2:4"
std::string counted(const std::map<std::string, int>& counts) {
  std::string text;
  for (const auto& [name, count] : counts) text += fmt::format("{}{}:{}", text.empty() ? "" : " ", name, count);
  return text;
}

}  // namespace

RunRow run_record(const std::string& command, const std::string& sweep_text, const std::vector<WorkerInfo>& workers,
                  const Transport& transport) {
  std::map<std::string, int> hosts;
  std::map<std::string, int> devices;
  for (const WorkerInfo& worker : workers) {
    hosts[worker.hello.host] += 1;
    devices[worker.hello.gpus.empty() ? "CPU" : worker.hello.gpus.front()] += 1;
  }
  RunRow row;
  row.time = unix_time();
  row.command = command;
  row.sweep_text = sweep_text;
  row.build = build_description();
  row.git_commit = build_info().git_commit;
  row.hosts = counted(hosts);
  row.workers = static_cast<int32_t>(workers.size());
  row.devices = counted(devices);
  row.versions = fmt::format("LibTorch {}; {}; {}", TORCH_VERSION, transport.description(), results_library_version());
  if (const std::string nccl = nccl_version(); !nccl.empty()) row.versions += "; " + nccl;
  return row;
}

}  // namespace recite
