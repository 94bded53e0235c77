#include "generate/recorded.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <exception>
#include <memory>

namespace recite::gpu {

std::function<void()> recorded(const std::function<void()>& queue) {
  // The default stream cannot be recorded. Always the same other one: libraries keep a workspace for each.
  static const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();
  const c10::cuda::CUDAStreamGuard guard(stream);
  const auto graph = std::make_shared<at::cuda::CUDAGraph>();
  // Other threads may use the GPU meanwhile, as NCCL's do.
  graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  try {
    queue();
  } catch (...) {
    try {
      graph->capture_end();
    } catch (const std::exception&) {  // the recording is broken; why, the first error says
    }
    throw;
  }
  graph->capture_end();
  return [graph] { graph->replay(); };
}

}  // namespace recite::gpu
