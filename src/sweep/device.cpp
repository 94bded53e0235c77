#include "sweep/device.h"

#include <fmt/format.h>

#include <new>

#include "base/error.h"
#include "base/host.h"
#ifdef RECITE_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>
#endif

namespace recite {

#ifdef RECITE_CUDA
std::vector<std::string> gpu_names() {
  std::vector<std::string> names;
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return names;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) == cudaSuccess) names.emplace_back(properties.name);
  }
  return names;
}

void release_device_memory() {
  if (torch::cuda::is_available()) c10::cuda::CUDACachingAllocator::emptyCache();
}
#else
std::vector<std::string> gpu_names() { return {}; }
void release_device_memory() {}
#endif

torch::Device choose_device(DeviceKind kind, int index) {
  const auto count = static_cast<int>(gpu_names().size());
  if (kind == DeviceKind::cuda && count == 0)
    throw Error("run.device = cuda, but this worker sees no GPU (allowed here: auto, cpu)");
  if (kind == DeviceKind::cpu || count == 0) return torch::kCPU;
  const auto device = static_cast<c10::DeviceIndex>(index % count);
#ifdef RECITE_CUDA
  c10::cuda::set_device(device);
#endif
  return {torch::kCUDA, device};
}

torch::Device take_device(const RunSpec& run) {
  at::set_num_threads(run.threads > 0 ? run.threads : available_cores());
  return choose_device(run.device, 0);
}

namespace {

bool is_out_of_memory(const std::exception& problem) {
  if (dynamic_cast<const c10::OutOfMemoryError*>(&problem) != nullptr) return true;
  if (dynamic_cast<const std::bad_alloc*>(&problem) != nullptr) return true;
  const std::string text = problem.what();
  return text.find("not enough memory") != std::string::npos || text.find("can't allocate memory") != std::string::npos;
}

// LibTorch appends a stack trace to what it says; the first line is for people.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

std::string explain_failure(const std::exception& problem, const Job& job) {
  if (!is_out_of_memory(problem)) return first_line(problem.what());
  if (job.is_pretrained()) {
    return fmt::format("out of memory: {}; try --eval.batch_size={} (it is {}; each prompt keeps its answer)",
                       first_line(problem.what()), std::max(1, job.eval.batch_size / 2), job.eval.batch_size);
  }
  const int rows = job.train.micro_batch_size > 0 ? job.train.micro_batch_size : job.train.batch_size / job.ranks;
  const std::string smaller =
      rows > 1
          ? fmt::format("try --train.micro_batch_size={} (it is {} rows; the gradient stays the same)", rows / 2, rows)
          : std::string("try a shorter --train.context_length or a smaller model");
  return fmt::format("out of memory: {}; {}", first_line(problem.what()), smaller);
}

}  // namespace recite
