#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/cuda.h>

#include "bench/bench.h"

namespace recite {

void trace_calls(const std::function<void()>& call, torch::Device device, const std::string& path) {
  namespace profiler = torch::autograd::profiler;
  const profiler::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  std::set<torch::profiler::impl::ActivityType> activities = {torch::profiler::impl::ActivityType::CPU};
  if (device.is_cuda()) activities.insert(torch::profiler::impl::ActivityType::CUDA);
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  call();
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
  profiler::disableProfiler()->save(path);
}

}  // namespace recite
