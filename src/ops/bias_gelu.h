// The GELU of kernels/gelu/gelu.h on tensors, differentiable: the CPU's kernel on the CPU, LibTorch's operations
// elsewhere.
#pragma once

#include <torch/torch.h>

namespace recite {

// gelu(u + bias), exact: u (..., D), float32, float64 or bf16; bias (D), float32 (float64 of float64).
torch::Tensor bias_gelu(const torch::Tensor& u, const torch::Tensor& bias);

// The same written with LibTorch's operations, differentiable by them, on any device.
torch::Tensor composed_bias_gelu(const torch::Tensor& u, const torch::Tensor& bias);

}  // namespace recite
