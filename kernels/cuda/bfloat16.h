// CUDA's bfloat16 as an element of the kernels: sums of it are float32.
#pragma once

#include <cuda_bf16.h>

#include "kernels/simd/bf16.h"

namespace recite::kernels {

template <>
struct SumsOf<__nv_bfloat16> {
  using type = float;
};

}  // namespace recite::kernels
