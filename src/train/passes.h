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
  using Call = std::function<void()>;

  virtual ~Passes() = default;
  // `inputs` on the host. On a GPU the work is queued after the current stream's and before what follows on it.
  // `kind`: any number; works of the same kind queue and call the same for inputs of the same shape.
  virtual void run(const TrainingInputs& inputs, int kind, const Work& work) = 0;
  // For the work, from any thread: makes `call` between what is queued so far and what will be, now and in every pass
  // that repeats this one. What it queues after the stream that was current in run() comes after what is queued so far.
  virtual void between(const Call& call) { call(); }
  // Passes that are recorded.
  virtual size_t recorded() const { return 0; }
};

// With `same_each_time`, passes on a GPU are recorded as CUDA graphs, cut where calls are made: hundreds of launches
// become a few. Then work must never wait for the device, and leave its results in memory that was there before. A call
// may do what cannot be recorded. Recorded and not, a pass gives the same bits.
std::unique_ptr<Passes> make_passes(torch::Device device, bool same_each_time);

}  // namespace recite
