// The GELU of kernels/gelu/gelu.h on tensors, differentiable: by the kernels on the CPU and on a GPU, where float64
// has none and is composed of LibTorch's operations.
#pragma once

#include <torch/torch.h>

namespace recite {

// gelu(u + bias), exact: u (..., D), float32, float64, bf16 or float16; bias (D), float32 (float64 of float64).
torch::Tensor bias_gelu(const torch::Tensor& u, const torch::Tensor& bias);

// The same written with LibTorch's operations, differentiable by them, on any device.
torch::Tensor composed_bias_gelu(const torch::Tensor& u, const torch::Tensor& bias);

}  // namespace recite
