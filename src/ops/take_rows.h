#pragma once

#include <torch/torch.h>

namespace recite {

// Rows `at` (M), int64, none of them twice, of x (..., D) seen as (R, D) -> (M, D). Differentiable: as no row is taken
// twice, the gradient is put where it belongs and nothing is added up.
torch::Tensor take_rows(const torch::Tensor& x, const torch::Tensor& at);

}  // namespace recite
