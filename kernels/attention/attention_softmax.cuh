// The softmax of attention's forward, over tiles of keys (FlashAttention-2, algorithm 1).
#pragma once

#include "kernels/attention/attention_work.cuh"

namespace recite::kernels {

// Of a warp's 16 queries, whose scores come as fragments of 8 N keys.
template <int D, int N>
struct OnlineSoftmax {
  Fragment<D / 8> out = {};
  float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};  // of a lane's two rows

  // Scores to their weights, after giving the sums so far the new largest score as their base.
  __device__ void to_weights(Fragment<N>& scores, float scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = largest[half];
#pragma unroll
      for (int n = 0; n < N; ++n) top = fmaxf(top, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      const float base = top == -INFINITY ? 0 : top * scale;
      if (__any_sync(~0u, top > largest[half])) {  // else the sums have their base
        const float before = power_of_2(largest[half] * scale - base);
        largest[half] = top;
        sum[half] *= before;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) {
          out[n][2 * half] *= before;
          out[n][2 * half + 1] *= before;
        }
      }
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          scores[n][e] = power_of_2(scores[n][e] * scale - base);
          sum[half] += scores[n][e];
        }
    }
  }

  __device__ void add_sums_of_lanes() {
#pragma unroll
    for (float& x : sum) {
      x += __shfl_xor_sync(~0u, x, 1);
      x += __shfl_xor_sync(~0u, x, 2);
    }
  }

  // log_sum of attention.h, of rows `row`.. that have a time.
  __device__ void store_log_sums(float* to, int row, int time, float scale) const {
    const int lane = threadIdx.x % 32;
    if (lane % 4 != 0) return;
#pragma unroll
    for (int half = 0; half < 2; ++half)
      if (const int t = row + half * 8 + lane / 4; t < time) to[t] = largest[half] * scale + __log2f(sum[half]);
  }
};

}  // namespace recite::kernels
