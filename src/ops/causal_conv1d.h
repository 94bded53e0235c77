// The causal convolution of kernels/causal_conv1d/causal_conv1d.h on tensors, differentiable: by the kernels on the
// CPU and on a GPU, where float64 has none and is composed of LibTorch's operations.
#pragma once

#include <torch/torch.h>

namespace recite {

// x (B, T, D), weight (D, W), bias (D) -> silu(bias + convolution) (B, T, D); zeros before t = 0. x is
// float32, float64, bf16 or float16, and so are y and `window`; weight and bias are float32 (float64 of float64).
torch::Tensor causal_conv1d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias);

// The same of the first D columns of xz (B, T, 2 D), and the other D. On a GPU their gradients are written side by side
// where that of z is half_like() z (ops/halves.h), as the selective scan gives it: no copy joins them.
struct ConvAndGate {
  torch::Tensor u, z;
};
ConvAndGate gated_causal_conv1d(const torch::Tensor& xz, const torch::Tensor& weight, const torch::Tensor& bias);

// One step: x (B, 1, D) after `window` (B, W-1, D), contiguous, the inputs before it, oldest first; it moves on in
// place. No gradient. Nothing waits for the GPU.
torch::Tensor causal_conv1d_step(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                 const torch::Tensor& window);

// The same written with LibTorch's operations, differentiable by them, on any device.
torch::Tensor composed_causal_conv1d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                     const torch::Tensor& window);

}  // namespace recite
