// The kernels of attention for Hopper, for their dispatch (attention_cuda.cu).
#pragma once

#include "kernels/attention/attention_cuda.h"
#include "kernels/attention/attention_tensor.h"

#define RECITE_FOR_HOPPER_HEADS(apply)                                                                            \
  apply(__nv_bfloat16, 64) apply(__nv_bfloat16, 80) apply(__nv_bfloat16, 128) apply(__half, 64) apply(__half, 80) \
      apply(__half, 128)

namespace recite::kernels {

template <int D>
constexpr bool has_hopper_kernels = D == 64 || D == 80 || D == 128;

// AttentionGradientSums are added from shares, of 64 rows each.
constexpr int gradient_share_rows = 64;
__host__ __device__ inline int gradient_shares(int time) {
  return (time + gradient_share_rows - 1) / gradient_share_rows;
}

template <class Element, int D>
void launch_hopper_forward(const AttentionProblem& problem, const Element* qkv, Element* out, float* log_sum,
                           cudaStream_t stream);

template <class Element, int D>
void launch_hopper_backward(const AttentionProblem& problem, const Element* qkv, const Element* out,
                            const float* log_sum, const Element* dout, Element* dqkv, float* delta,
                            const AttentionGradientSums& sums, cudaStream_t stream);

}  // namespace recite::kernels
