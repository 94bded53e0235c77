// How passes over a model are run on its device.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "train/loss.h"

namespace recite {

class Passes {
 public:
  // What to do with inputs that are on the device.
  using Work = std::function<void(const TrainingInputs&)>;

  virtual ~Passes() = default;
  // `inputs` on the host. On a GPU the work is queued after the current stream's and before what follows on it.
  virtual void run(const TrainingInputs& inputs, const Work& work) = 0;
  // CUDA graphs that stand for passes.
  virtual size_t graphs() const { return 0; }
};

// With `same_each_time`, passes on a GPU are recorded as CUDA graphs: hundreds of launches become one. Then `work` must
// queue the same for inputs of the same shape, never wait for the device, and leave its results in memory that was
// there before. Recorded and not, a pass gives the same bits.
std::unique_ptr<Passes> make_passes(torch::Device device, bool same_each_time);

}  // namespace recite
