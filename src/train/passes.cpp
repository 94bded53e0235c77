#include "train/passes.h"

#if RECITE_CUDA
#include "train/gpu_passes.h"
#endif

namespace recite {

namespace {

class CpuPasses final : public Passes {
 public:
  void run(const TrainingInputs& inputs, int /*kind*/, const Work& work) override { work(inputs); }
};

}  // namespace

std::unique_ptr<Passes> make_passes([[maybe_unused]] torch::Device device, [[maybe_unused]] bool same_each_time) {
#if RECITE_CUDA
  if (device.is_cuda()) return std::make_unique<GpuPasses>(device, same_each_time);
#endif
  return std::make_unique<CpuPasses>();
}

}  // namespace recite
