// Passes over a model on a GPU, which can be recorded as CUDA graphs.
#pragma once

#include "train/passes.h"

namespace recite {

// The first pass over inputs of one shape runs as it is; in the second, the products of new shapes are timed
// (kernels/product). Where passes are recorded the third is, and it and the later ones are replayed, on inputs copied
// to where the recorded ones were; after most_graphs shapes further ones run as they are. Those passes share one pool
// of memory.
class GpuPasses final : public Passes {
 public:
  static constexpr size_t most_graphs = 16;

  GpuPasses(torch::Device device, bool record);
  ~GpuPasses() override;
  GpuPasses(const GpuPasses&) = delete;
  GpuPasses& operator=(const GpuPasses&) = delete;

  void run(const TrainingInputs& inputs, const Work& work) override;
  size_t graphs() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace recite
