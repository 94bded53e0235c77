// Products with a weight: on a GPU with one that is read from a copy in bf16, and for passes without a backward.
#pragma once

#include <torch/torch.h>

#include <utility>

#include "ops/rounded_weight.h"

namespace recite {

// Whether product() takes them: on a GPU, with sizes and strides that are multiples of 16 bytes.
bool takes_product(const torch::Tensor& x, const torch::Tensor& copy);

// x (..., I), bf16, times the transpose of weight (O, I), plus a constant (O), bf16, where defined: as torch::linear of
// the copy, for a pass that is followed by its backward. The weight's gradient is written, or added to the one that is
// there, in float32 by the product itself; the constant has none.
torch::Tensor product(const torch::Tensor& x, const RoundedWeight& weight, const torch::Tensor& constant);

// The same, and x again for what else reads it: the gradient from there is added by the product of x's own.
struct ProductAndInput {
  torch::Tensor product, input;
};
ProductAndInput product_and_input(const torch::Tensor& x, const RoundedWeight& weight,
                                  const torch::Tensor& constant = {});

// torch::linear, for a pass without a backward: of few rows in 16 bits on a GPU by a kernel that reads the weight once.
// With gelu_bias: bias_gelu() (ops/bias_gelu.h) of that.
struct PlainProduct {
  torch::Tensor x, weight;       // (.., I), (O, I), of one type
  torch::Tensor bias = {};       // (O), of that type, contiguous; may be undefined
  torch::Tensor gelu_bias = {};  // (O), float32 (float64 for float64), contiguous; may be undefined
};
torch::Tensor plain_product(const PlainProduct& of);
// Two of them, neither of what the other makes: of few rows and one type by one kernel. Each has the bits that it has
// alone.
std::pair<torch::Tensor, torch::Tensor> plain_products(const PlainProduct& first, const PlainProduct& second);

}  // namespace recite
