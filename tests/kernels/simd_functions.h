// The functions of kernels/simd/math.h on arrays, of each instruction set.
#pragma once

#include <cstdint>

#include "kernels/simd/bf16.h"
#include "kernels/simd/isa.h"

namespace recite::kernels {

template <class Real>
struct SimdFunctions {
  Real *exp, *exp2_of_negative, *sigmoid, *softplus, *density, *distribution, *sum;
};

RECITE_DECLARE_SIMD(template <class Real>
                    void simd_functions(const Real* x, int64_t size, const SimdFunctions<Real>& to);
                    // Stores x as bf16, and loads that, the last vector by `count`s.
                    void simd_bf16(const float* x, int64_t size, bf16* stored, float* loaded);)

}  // namespace recite::kernels
