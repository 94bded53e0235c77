// Depthwise causal convolution over time, followed by SiLU (Mamba, arXiv 2312.00752, figure 3):
//
//   y[b,t,d] = silu(bias[d] + sum_k weight[d,k] x[b,t-W+1+k,d])      x is `initial`, or 0, before t = 0
//
// Letters: B batch, T time, D channels, W width (at most 4). Every array is contiguous.
#pragma once

#include <cstdint>

namespace recite::kernels {

struct ConvShape {
  int64_t batch, time, channels, width;
};

// initial (B, W-1, D): what came before t = 0, oldest first, or null for zeros.
template <class Real>
void causal_conv1d_forward_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                               const Real* initial, Real* y);

// Writes dx (B, T, D), dweight (D, W), dbias (D); `initial` is zeros in training. Sums over batch and time in a fixed
// order.
template <class Real>
void causal_conv1d_backward_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                                const Real* dy, Real* dx, Real* dweight, Real* dbias);

}  // namespace recite::kernels
