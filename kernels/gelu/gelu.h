// The exact GELU (Hendrycks and Gimpel, arXiv 1606.08415) of a projection, with the projection's bias:
//
//   y[r,c] = x Phi(x), x = u[r,c] + bias[c]      Phi: the standard normal distribution function
//
// Arrays are (rows, columns), contiguous, of float, double or bf16; the bias and sums are float32 (float64 in float64).
#pragma once

#include <cstdint>

#include "kernels/simd/bf16.h"

namespace recite::kernels {

struct GeluShape {
  int64_t rows, columns;
};

template <class Element>
void bias_gelu_forward_cpu(const GeluShape& shape, const Element* u, const Sums<Element>* bias, Element* y);

// Writes du and dbias (columns), the gradients of a scalar whose gradient in y is dy. dbias sums over rows in a fixed
// order: the same bits on any number of threads (with one instruction set: kernels/simd/isa.h).
template <class Element>
void bias_gelu_backward_cpu(const GeluShape& shape, const Element* u, const Sums<Element>* bias, const Element* dy,
                            Element* du, Sums<Element>* dbias);

}  // namespace recite::kernels
