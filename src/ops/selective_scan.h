// The selective scan of kernels/selective_scan/selective_scan.h on tensors, differentiable: by the kernels on the
// CPU and on a GPU, where float64 has none and is composed of LibTorch's operations.
#pragma once

#include <torch/torch.h>

namespace recite {

// On one device. Elements, of u, delta, B, C, z and y, are float32, float64, bf16 or float16; the others float32
// (float64 of float64). Letters: B batch, T time, D channels, N state.
struct ScanTensors {
  torch::Tensor u;           // (B, T, D)
  torch::Tensor delta;       // (B, T, D), before bias and softplus
  torch::Tensor A;           // (D, N), negative
  torch::Tensor B;           // (B, T, N)
  torch::Tensor C;           // (B, T, N)
  torch::Tensor D;           // (D)
  torch::Tensor z;           // (B, T, D), or undefined: no gate
  torch::Tensor delta_bias;  // (D)
};

// y (B, T, D), from a state of zeros.
torch::Tensor selective_scan(const ScanTensors& in);

// The same from `state` (B, D, N), contiguous, which becomes, in place, the state after the last step. A step whose
// delta is -infinity leaves the state as it is. No gradient. Nothing waits for the GPU.
torch::Tensor selective_scan_from(const ScanTensors& in, const torch::Tensor& state);

// The same written with LibTorch's operations, differentiable by them, on any device.
torch::Tensor composed_selective_scan(const ScanTensors& in, torch::Tensor& state);

}  // namespace recite
