#include "train/gpu_passes.h"

#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

#include <map>
#include <optional>
#include <vector>

#include "kernels/product/product_cuda.h"

namespace recite {

namespace {

namespace memory = c10::cuda::CUDACachingAllocator;
using Shape = std::vector<int64_t>;

Shape shape_of(const TrainingInputs& inputs) {
  return {inputs.tokens.size(0), inputs.tokens.size(1), inputs.answers.places.size(0)};
}

struct Pass {
  TrainingInputs inputs;
  int64_t runs = 0;
  std::unique_ptr<at::cuda::CUDAGraph> graph;
};

// `later` goes on when `earlier` has done what it holds so far.
void follow(const c10::cuda::CUDAStream& later, const c10::cuda::CUDAStream& earlier) {
  at::cuda::CUDAEvent event;
  event.record(earlier);
  event.block(later);
}

// Of a recording that failed: the stream can be used again.
void end_capture(const c10::cuda::CUDAStream& stream) {
  cudaGraph_t part = nullptr;
  cudaStreamEndCapture(stream, &part);
  if (part) cudaGraphDestroy(part);
  cudaGetLastError();
}

}  // namespace

// Graphs cannot be recorded on the default stream, so all passes run on one of their own.
struct GpuPasses::State {
  State(torch::Device on, bool record_)
      : device(torch::kCUDA, on.has_index() ? on.index() : c10::cuda::current_device()),
        record_passes(record_),
        stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {
    memory::createOrIncrefPool(device.index(), pool);
  }
  ~State() {
    passes.clear();
    memory::releasePool(device.index(), pool);
  }

  void run_beside(Pass& pass, const TrainingInputs& inputs, const Passes::Work& work);
  void run_as_it_is(const TrainingInputs& inputs, const Passes::Work& work) const;
  void record(Pass& pass, const Passes::Work& work) const;
  size_t graphs() const;

  torch::Device device;
  bool record_passes;
  c10::cuda::CUDAStream stream;
  c10::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();
  std::map<Shape, Pass> passes;
};

GpuPasses::GpuPasses(torch::Device device, bool record) : state_(std::make_unique<State>(device, record)) {}
GpuPasses::~GpuPasses() = default;

size_t GpuPasses::graphs() const { return state_->graphs(); }

void GpuPasses::run(const TrainingInputs& inputs, const Work& work) {
  Pass& pass = state_->passes[shape_of(inputs)];
  std::optional<kernels::ProductTiming> timing;
  if (pass.runs == 1) timing.emplace();
  if (state_->record_passes) {
    state_->run_beside(pass, inputs, work);
  } else {
    work(inputs.to(state_->device));
  }
  ++pass.runs;
}

// On the stream for graphs.
void GpuPasses::State::run_beside(Pass& pass, const TrainingInputs& inputs, const Passes::Work& work) {
  const c10::cuda::CUDAStream outer = c10::cuda::getCurrentCUDAStream(device.index());
  follow(stream, outer);
  {
    const c10::cuda::CUDAStreamGuard guard(stream);
    if (pass.graph) {
      pass.inputs.copy_from(inputs);
    } else if (pass.runs >= 2 && graphs() < most_graphs) {
      pass.inputs = inputs.to(device);
      record(pass, work);
    }
    if (pass.graph) {
      pass.graph->replay();
    } else {
      run_as_it_is(inputs.to(device), work);
    }
  }
  follow(outer, stream);
}

// In the graphs' pool: whether a pass is recorded or not, the memory is the same.
void GpuPasses::State::run_as_it_is(const TrainingInputs& inputs, const Passes::Work& work) const {
  const auto is_ours = [ours = stream.stream()](cudaStream_t used) { return used == ours; };
  memory::beginAllocateToPool(device.index(), pool, is_ours);
  const auto end = [this] {
    memory::endAllocateToPool(device.index(), pool);
    memory::releasePool(device.index(), pool);
  };
  try {
    work(inputs);
  } catch (...) {
    end();
    throw;
  }
  end();
}

void GpuPasses::State::record(Pass& pass, const Passes::Work& work) const {
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  graph->capture_begin(pool);
  try {
    work(pass.inputs);
  } catch (...) {
    end_capture(stream);
    throw;
  }
  graph->capture_end();
  pass.graph = std::move(graph);
}

size_t GpuPasses::State::graphs() const {
  size_t count = 0;
  for (const auto& [shape, pass] : passes) count += pass.graph ? 1 : 0;
  return count;
}

}  // namespace recite
