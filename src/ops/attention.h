// The causal attention of kernels/attention/attention.h on tensors, differentiable: by the kernels on the CPU
// and on a GPU, where float64 has none and is composed of LibTorch's operations.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace recite {

// How a head knows positions; tensors are float32 (float64 where qkv is), or undefined. Letters: T time, H heads, R
// rotated dimensions.
struct AttentionPlaces {
  torch::Tensor cos, sin;          // (T, R/2): RoPE
  torch::Tensor slope;             // (H): ALiBi
  torch::Tensor window;            // (H), int64: Hard-ALiBi, how many keys before its own a query sees
  int64_t twice_from = INT64_MAX;  // dimensions from this on, none of them rotated, count twice in the scores
};

// qkv (B, T, H, 3, head), query, key and value of a head side by side -> (B, T, H * head). float32, float64,
// bf16 or float16.
torch::Tensor causal_attention(const torch::Tensor& qkv, const AttentionPlaces& places);

// The same written with LibTorch's operations, differentiable by them, on any device.
torch::Tensor composed_causal_attention(const torch::Tensor& qkv, const AttentionPlaces& places);

}  // namespace recite
