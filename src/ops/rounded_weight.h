// Weights that forward passes read from copies in a lower precision.
#pragma once

#include <torch/torch.h>

namespace recite {

struct RoundedWeight {
  torch::Tensor weight;  // float32 or float64
  torch::Tensor copy;
  torch::Tensor gradient;  // as the weight: memory for weight.grad(); undefined: who makes that sees to its own

  // For what makes a gradient of the weight in that memory, or adds it to one. True if there is none: then `gradient`
  // is weight.grad() from now on and must be written, as what it holds counts for nothing.
  bool begin_gradient() const;
};

// The copy, for a pass with a backward: the weight's gradient is made of the copy's in one pass over them.
torch::Tensor rounded_weight(const RoundedWeight& weight);

}  // namespace recite
