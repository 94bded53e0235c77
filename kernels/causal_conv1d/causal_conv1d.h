// Depthwise causal convolution over time, followed by SiLU (Mamba, arXiv 2312.00752, figure 3):
//
//   y[b,t,d] = silu(bias[d] + sum_k weight[d,k] x[b,t-W+1+k,d])      x is `initial`, or 0, before t = 0
//
// Letters: B batch, T time, D channels, W width (1 to 4). Every array is contiguous, all float32 or all float64.
#pragma once

#include <cstdint>

namespace recite::kernels {

struct ConvShape {
  int64_t batch, time, channels, width;
};

// x (B, T, D), weight (D, W), bias (D) -> y (B, T, D). initial (B, W-1, D): what came before t = 0, oldest first, or
// null for zeros.
template <class Real>
void causal_conv1d_forward_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                               const Real* initial, Real* y);

// One step of decoding (shape.time is 1) after the inputs in window (B, W-1, D), oldest first, which moves on by one.
template <class Real>
void causal_conv1d_step_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias, Real* window,
                            Real* y);

// Writes dx (B, T, D), dweight (D, W), dbias (D); `initial` is zeros in training. Sums over batch and time in a fixed
// order: the same bits on any number of threads (with one instruction set: kernels/simd/isa.h).
template <class Real>
void causal_conv1d_backward_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                                const Real* dy, Real* dx, Real* dweight, Real* dbias);

}  // namespace recite::kernels
