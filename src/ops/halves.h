// Rows (B, T, 2 D) in one piece of memory, whose halves come from different places.
#pragma once

#include <torch/torch.h>

namespace recite {

// Uninitialised, (B, T, D). When `half` is the second half of rows 2 D wide, this is the second half of new ones.
torch::Tensor half_like(const torch::Tensor& half);

// (B, T, 2 D) whose second half is `half`, and whose first is to be written: in the memory that `half` lies in, when
// that came from half_like() and nothing else holds it; else in new memory, copied.
torch::Tensor with_first_half(const torch::Tensor& half);

}  // namespace recite
