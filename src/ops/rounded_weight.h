// A weight that forward passes read from a copy in a lower precision.
#pragma once

#include <torch/torch.h>

namespace recite {

// `copy`, the weight rounded; its gradient is added to the weight's own (weight.grad(), when there is one already, in
// one pass and in the weight's precision).
torch::Tensor rounded_weight(const torch::Tensor& weight, const torch::Tensor& copy);

}  // namespace recite
