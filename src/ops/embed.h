#pragma once

#include <torch/torch.h>

namespace recite {

// torch::embedding: rows `tokens` (..), int64, of weight (V, D) -> (.., D). Its gradient gives the same bits each time;
// its sums are float32 or float64.
torch::Tensor embed(const torch::Tensor& weight, const torch::Tensor& tokens);

}  // namespace recite
