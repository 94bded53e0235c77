#include "train/gpu_passes.h"

#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

#include <map>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/product/product_cuda.h"

namespace recite {

namespace {

namespace memory = c10::cuda::CUDACachingAllocator;
using Kind = std::vector<int64_t>;

Kind kind_of(const TrainingInputs& inputs, int work) {
  return {inputs.tokens.size(0), inputs.tokens.size(1), inputs.answers.places.size(0), work};
}

struct DestroyGraph {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
template <class Handle>
using OwnedGraph = std::unique_ptr<std::remove_pointer_t<Handle>, DestroyGraph>;

// A recorded pass is a few of these.
struct Part {
  OwnedGraph<cudaGraphExec_t> graph;
  Passes::Call then;  // to be made when the graph is queued; the last part has none
};

struct Pass {
  TrainingInputs inputs;
  int64_t runs = 0;
  std::vector<Part> parts;  // once it is recorded
};

// `later` goes on when `earlier` has done what it holds so far.
void follow(const c10::cuda::CUDAStream& later, const c10::cuda::CUDAStream& earlier) {
  at::cuda::CUDAEvent event;
  event.record(earlier);
  event.block(later);
}

// Calls come from the thread of the backward pass: only a relaxed capture may end in another than it began in.
void begin_capture(const c10::cuda::CUDAStream& stream) {
  C10_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
}

OwnedGraph<cudaGraphExec_t> end_capture(const c10::cuda::CUDAStream& stream) {
  cudaGraph_t captured = nullptr;
  C10_CUDA_CHECK(cudaStreamEndCapture(stream, &captured));
  const OwnedGraph<cudaGraph_t> owned(captured);
  kernels::clear_product_counters_at_once(captured);
  cudaGraphExec_t graph = nullptr;
  C10_CUDA_CHECK(cudaGraphInstantiate(&graph, captured, 0));
  return OwnedGraph<cudaGraphExec_t>(graph);
}

// Of a recording that failed, in a capture or in a call: the stream can be used again.
void give_up_capture(const c10::cuda::CUDAStream& stream) {
  cudaGraph_t captured = nullptr;
  cudaStreamEndCapture(stream, &captured);
  if (captured) cudaGraphDestroy(captured);
  cudaGetLastError();
}

// While one lives, memory for the stream's work comes from the pool.
class FromPool {
 public:
  FromPool(const c10::cuda::CUDAStream& stream, c10::cuda::MempoolId_t pool)
      : device_(stream.device_index()), pool_(std::move(pool)) {
    memory::beginAllocateToPool(device_, pool_, [ours = stream.stream()](cudaStream_t used) { return used == ours; });
  }
  ~FromPool() {
    memory::endAllocateToPool(device_, pool_);
    memory::releasePool(device_, pool_);
  }
  FromPool(const FromPool&) = delete;
  FromPool& operator=(const FromPool&) = delete;

 private:
  c10::DeviceIndex device_;
  c10::cuda::MempoolId_t pool_;
};

}  // namespace

// Graphs cannot be recorded on the default stream, so all passes run on one of their own.
struct GpuPasses::State {
  State(torch::Device on, bool record_)
      : device(torch::kCUDA, on.has_index() ? on.index() : c10::cuda::current_device()),
        record_passes(record_),
        stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())),
        outer(c10::cuda::getCurrentCUDAStream(device.index())) {
    memory::createOrIncrefPool(device.index(), pool);
  }
  ~State() {
    passes.clear();
    memory::releasePool(device.index(), pool);
  }

  void run_beside(Pass& pass, const TrainingInputs& inputs, const Work& work);
  void run_from_pool(Pass& pass, const TrainingInputs& inputs, const Work& work);
  void record(Pass& pass, const Work& work);
  void end_part(Call then);
  void queue(const Part& part) const;
  void make(const Call& call) const;
  size_t recorded() const;

  torch::Device device;
  bool record_passes;
  c10::cuda::CUDAStream stream;
  c10::cuda::CUDAStream outer;  // the one that the pass runs beside
  c10::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();
  std::map<Kind, Pass> passes;
  std::vector<Part>* recording = nullptr;  // the parts so far of the pass that is being recorded
};

GpuPasses::GpuPasses(torch::Device device, bool record) : state_(std::make_unique<State>(device, record)) {}
GpuPasses::~GpuPasses() = default;

size_t GpuPasses::recorded() const { return state_->recorded(); }

void GpuPasses::run(const TrainingInputs& inputs, int kind, const Work& work) {
  Pass& pass = state_->passes[kind_of(inputs, kind)];
  std::optional<kernels::ProductTiming> timing;
  if (pass.runs == 1) timing.emplace();
  if (state_->record_passes) {
    state_->run_beside(pass, inputs, work);
  } else {
    work(inputs.to(state_->device));
  }
  ++pass.runs;
}

void GpuPasses::between(const Call& call) {
  if (!state_->record_passes) {
    call();
  } else if (state_->recording) {
    state_->end_part(call);
    begin_capture(state_->stream);
  } else {
    state_->make(call);
  }
}

// On the stream for graphs.
void GpuPasses::State::run_beside(Pass& pass, const TrainingInputs& inputs, const Work& work) {
  outer = c10::cuda::getCurrentCUDAStream(device.index());
  follow(stream, outer);
  {
    const c10::cuda::CUDAStreamGuard guard(stream);
    if (pass.parts.empty()) {
      run_from_pool(pass, inputs.to(device), work);
    } else {
      pass.inputs.copy_from(inputs);
      for (const Part& part : pass.parts) queue(part);
    }
  }
  follow(outer, stream);
}

// Whether a pass is recorded or not, the memory is the same.
void GpuPasses::State::run_from_pool(Pass& pass, const TrainingInputs& inputs, const Work& work) {
  const FromPool from_pool(stream, pool);
  if (pass.runs < 2 || recorded() == most_recorded) return work(inputs);
  pass.inputs = inputs;
  record(pass, work);
}

// Each part is queued once it is recorded, so that a call finds what it finds in a pass that is not.
void GpuPasses::State::record(Pass& pass, const Work& work) {
  std::vector<Part> parts;
  recording = &parts;
  try {
    begin_capture(stream);
    work(pass.inputs);
    end_part(nullptr);
  } catch (...) {
    recording = nullptr;
    give_up_capture(stream);
    throw;
  }
  recording = nullptr;
  pass.parts = std::move(parts);
}

void GpuPasses::State::end_part(Call then) {
  recording->push_back({end_capture(stream), std::move(then)});
  queue(recording->back());
}

void GpuPasses::State::queue(const Part& part) const {
  C10_CUDA_CHECK(cudaGraphLaunch(part.graph.get(), stream));
  if (part.then) make(part.then);
}

void GpuPasses::State::make(const Call& call) const {
  follow(outer, stream);
  call();
}

size_t GpuPasses::State::recorded() const {
  size_t count = 0;
  for (const auto& [kind, pass] : passes) count += pass.parts.empty() ? 0 : 1;
  return count;
}

}  // namespace recite
