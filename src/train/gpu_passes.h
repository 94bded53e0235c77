// Passes over a model on a GPU, which can be recorded as CUDA graphs.
#pragma once

#include "train/passes.h"

namespace recite {

// The first pass of a kind, which is the work's and the inputs' shape, runs as it is; in the second, the
// products of new shapes are timed (kernels/product). Where passes are recorded the third is, and later ones repeat it,
// on inputs copied to where its were; after most_recorded kinds further ones run as they are. Those passes share one
// pool of memory.
class GpuPasses final : public Passes {
 public:
  static constexpr size_t most_recorded = 16;

  GpuPasses(torch::Device device, bool record);
  ~GpuPasses() override;
  GpuPasses(const GpuPasses&) = delete;
  GpuPasses& operator=(const GpuPasses&) = delete;

  void run(const TrainingInputs& inputs, int kind, const Work& work) override;
  void between(const Call& call) override;
  size_t recorded() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace recite
