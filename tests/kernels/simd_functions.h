// The functions of kernels/simd/math.h on arrays, of each instruction set.
#pragma once

#include <cstdint>

#include "kernels/simd/isa.h"

namespace recite::kernels {

template <class Real>
struct SimdFunctions {
  Real *exp, *exp2_of_negative, *sigmoid, *softplus, *sum;
};

RECITE_DECLARE_SIMD(template <class Real>
                    void simd_functions(const Real* x, int64_t size, const SimdFunctions<Real>& to);)

}  // namespace recite::kernels
