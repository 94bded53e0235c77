// The residual stream of a pre-norm network, and the norms that read it:
//
//   sum[r,:] = x[r,:] + branches[0][r,:] + branches[1][r,:] + bias
//   y_i[r,c] = (sum[r,c] - mean[r]) rstd[r] weight_i[c] + offset_i[c]        rstd = 1 / sqrt(variance + epsilon)
//
// LayerNorm (Ba et al., arXiv 1607.06450), or RMSNorm (Zhang and Sennrich, arXiv 1910.07467), whose mean counts as 0.
// Two norms of one sum are what a parallel residual has (GPT-NeoX, arXiv 2204.06745, section 2.1.2).
//
// Arrays are (rows, columns), contiguous. The stream and the parameters are float32 (float64 in float64); branches and
// norms are of the element's type.
#pragma once

#include <cstdint>

#include "kernels/simd/bf16.h"

namespace recite::kernels {

struct ResidualNormShape {
  int64_t rows, columns;
  int norms;     // 1 or 2
  bool centred;  // LayerNorm; else RMSNorm
  double epsilon;
};

template <class Element>
struct ResidualNormInputs {
  using Real = Sums<Element>;
  const Real* x;
  const Element* branches[2];  // null: none
  const Real* bias;            // (columns), or null
  const Real* weight[2];       // (columns), of each norm
  const Real* offset[2];       // (columns), or null
};

template <class Element>
struct ResidualNormOutputs {
  using Real = Sums<Element>;
  Real* sum;
  Element* y[2];      // of each norm
  Real *mean, *rstd;  // (rows), for the backward
};

template <class Element>
void residual_norm_forward_cpu(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                               const ResidualNormOutputs<Element>& out);

// Of a scalar whose gradient in sum is dsum (null: zeros) and in y_i is dy_i. Each is written, not added to; those that
// are null are not wanted. `branch` is what both branches get: dx in the element's type. Sums over rows are in a fixed
// order: the same bits on any number of threads (with one instruction set: kernels/simd/isa.h).
template <class Element>
struct ResidualNormGradients {
  using Real = Sums<Element>;
  Real* x;
  Element* branch;
  Real* bias;
  Real* weight[2];
  Real* offset[2];
};
template <class Element>
void residual_norm_backward_cpu(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                const ResidualNormOutputs<Element>& out, const Sums<Element>* dsum,
                                const Element* const (&dy)[2], const ResidualNormGradients<Element>& gradients);

}  // namespace recite::kernels
