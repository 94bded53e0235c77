// The parts of the norms that are compiled for each instruction set; residual_norm_cpu.cpp calls them on rows
// [first, last).
#pragma once

#include "kernels/residual_norm/residual_norm.h"
#include "kernels/simd/isa.h"

namespace recite::kernels {

template <class Element>
struct NormBackward {
  ResidualNormShape shape;
  ResidualNormInputs<Element> in;
  ResidualNormOutputs<Element> out;
  const Sums<Element>* dsum;
  const Element* dy[2];
  Sums<Element>* dx;
  Element* dbranch;
};

// Sums over the rows of a chunk: (columns) each, added to.
template <class Real>
struct NormSums {
  Real *weight[2], *offset[2], *bias;
};

RECITE_DECLARE_SIMD(template <class Element>
                    void norm_forward(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                      const ResidualNormOutputs<Element>& out, int64_t first, int64_t last);
                    template <class Element>
                    void norm_backward(const NormBackward<Element>& norm, const NormSums<Sums<Element>>& to,
                                       int64_t first, int64_t last);)

}  // namespace recite::kernels
