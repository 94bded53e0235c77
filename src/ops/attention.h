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

// qkv (B, T, H, 3, head), query, key and value of a head side by side -> (B, T, H * head). float32, float64 or
// bf16; without a gradient float16, too. bias (3 * H * head), float32 (float64 where qkv is), or undefined: what the
// caller added to every token's qkv as a constant. Its gradient is a by-product of the backward, and given here.
torch::Tensor causal_attention(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& bias = {});

// The same written with LibTorch's operations, differentiable by them, on any device.
torch::Tensor composed_causal_attention(const torch::Tensor& qkv, const AttentionPlaces& places,
                                        const torch::Tensor& bias = {});

// The keys, rotated, and values of B sequences of at most M tokens: (B, H, M, head) each. What lies past a sequence's
// end means nothing.
struct AttentionCache {
  torch::Tensor keys, values;

  // For elements of the type, on the device, of `options`; on the CPU float16 is kept as float32, as it is worked on.
  static AttentionCache make(int64_t batch, int64_t heads, int64_t max_tokens, int64_t head,
                             torch::TensorOptions options);
};

// Puts the first T tokens of every sequence, qkv (B, T, H, 3, head), into the cache. `places` as for causal_attention.
void keep_prompts(const torch::Tensor& qkv, const AttentionPlaces& places, const AttentionCache& cache);

// The next token of every sequence: qkv (B, H, 3, head) goes into the cache at place length[b] < M, length (B) int32,
// and is attended to with those before it -> (B, H * head). cos and sin of `places` are (M, R/2). No gradient. Nothing
// waits for the GPU.
torch::Tensor attention_step(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& length,
                             const AttentionCache& cache);

// The same written with LibTorch's operations, on any device.
torch::Tensor composed_attention_step(const torch::Tensor& qkv, const AttentionPlaces& places,
                                      const torch::Tensor& length, const AttentionCache& cache);

}  // namespace recite
