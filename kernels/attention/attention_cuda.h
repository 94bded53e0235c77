// Causal attention on a GPU: the formula, layouts and meaning of AttentionPosition of kernels/attention/attention.h,
// and a step of decoding. Every pointer, those of AttentionPosition too, is device memory, contiguous; arrays of
// Element begin at a multiple of 16 bytes.
//
// Element is __nv_bfloat16, __half or float; sums, softmax, positions and log_sum are float32. With 16-bit elements and
// head sizes 32, 64, 80 and 128 the products are on tensor cores (FlashAttention-2, Dao, arXiv 2307.08691, with the
// rotation inside; on Hopper, but for head size 32, FlashAttention-3, Shah et al., arXiv 2407.08608), where rotated
// queries and keys, probabilities and gradients of scores are rounded to Element; other head sizes up to 256, and
// float, have a plain kernel.
//
// `items_taken` is a number in device memory that is 0: blocks count in it what they take of the work, and leave it at
// 0. Calls that may run at the same time have one each.
//
// The work is queued on `stream`; nothing waits for it. Two runs give the same bits: sums are made in a fixed order,
// whoever makes them.
// Throws std::invalid_argument for what is not supported, and std::runtime_error when CUDA refuses a launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/attention/attention.h"

namespace recite::kernels {

// qkv (B, T, H, 3, d) -> out (B, T, H, d), log_sum (B, H, T) as on the CPU, or null.
template <class Element>
void attention_forward_cuda(const AttentionShape& shape, const AttentionPosition<float>& position, const Element* qkv,
                            Element* out, float* log_sum, unsigned* items_taken, cudaStream_t stream);

// The sums of dqkv over batch and time, which are the gradient of what was added to every token's qkv.
// Null where they are not wanted.
struct AttentionGradientSums {
  float* to = nullptr;         // (H, 3, d)
  float* workspace = nullptr;  // attention_gradient_sums_workspace(shape) numbers
};
int64_t attention_gradient_sums_workspace(const AttentionShape& shape);
// Whether the backward gives them, which costs less than to read dqkv again: on Hopper, of the head sizes that have
// kernels of its own.
template <class Element>
bool gives_attention_gradient_sums(const AttentionShape& shape);

// Writes dqkv (B, T, H, 3, d), into `delta` (B, H, T), a workspace, the sums over d of out dout, and `sums` where they
// are wanted.
template <class Element>
void attention_backward_cuda(const AttentionShape& shape, const AttentionPosition<float>& position, const Element* qkv,
                             const Element* out, const float* log_sum, const Element* dout, Element* dqkv, float* delta,
                             const AttentionGradientSums& sums, unsigned* items_taken, cudaStream_t stream);

// The step of decoding of attention.h. `workspace`: attention_decode_workspace(shape) numbers.
template <class Element>
void attention_decode_cuda(const AttentionDecodeShape& shape, const AttentionPosition<float>& position,
                           const Element* qkv, const int32_t* length, Element* keys, Element* values, Element* out,
                           float* workspace, cudaStream_t stream);

int64_t attention_decode_workspace(const AttentionDecodeShape& shape);

}  // namespace recite::kernels
