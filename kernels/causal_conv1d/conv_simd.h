// The parts of the causal convolution that are compiled for each instruction set; causal_conv1d_cpu.cpp calls them. A
// task is the channels [first, first + count) of one row; the vector's lanes are channels.
#pragma once

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/simd/isa.h"

namespace recite::kernels {

struct ConvTask {
  int64_t batch, first, count;
};

template <class Real>
struct ConvInputs {
  ConvShape shape;
  int64_t padded;      // channels, filled with zeros to a multiple of the widest vector
  const Real* x;       // (B, T, D)
  const Real* weight;  // (W, padded)
  const Real* bias;    // (padded)
};

// conv_forward: initial (B, W-1, D) or null.
// conv_backward: dweight (W, padded) and dbias (padded) of the row are written, from the task's channels on.
RECITE_DECLARE_SIMD(template <class Real>
                    void conv_forward(const ConvInputs<Real>& in, const ConvTask& task, const Real* initial, Real* y);
                    template <class Real> void conv_backward(const ConvInputs<Real>& in, const ConvTask& task,
                                                             const Real* dy, Real* dx, Real* dweight, Real* dbias);)

}  // namespace recite::kernels
