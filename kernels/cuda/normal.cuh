// The normal distribution, for GELU.
#pragma once

#include "kernels/cuda/vectors.cuh"

namespace recite::kernels {

// The standard normal distribution's density and distribution function. Q(|x|) = density(x) sqrt(pi / 2) erfcx(z),
// z = |x| / sqrt(2), and erfcx(z) / t is nearly a polynomial of s = 2 t - 1, t = 1 / (1 + 0.45 z): of degree 9 to
// 3.9e-8 (kernels/simd/math.h). Half the instructions of erff and expf, which would take longer than the memory.
struct Normal {
  float density, distribution;
};
__device__ inline Normal normal(float x) {
  constexpr float c[] = {0.46714029121240164f,     0.33543456120692602f,    0.16278914891576412f,
                         0.042139001178856356f,    -0.0028570213370573468f, -0.0051351830799745429f,
                         -0.00014665371901204063f, 0.00069955320057830011f, 1.6884499729039922e-5f,
                         -8.0601701624528278e-5f};
  constexpr float rate = 0.318198052f, inverse_sqrt_2_pi = 0.398942280f;  // 0.45 / sqrt(2)
  const float e = exp2_fast(x * x * (-log2_e / 2));
  const float t = reciprocal(1 + rate * fabsf(x)), s = 2 * t - 1;
  float p = c[9];
#pragma unroll
  for (int i = 8; i >= 0; --i) p = p * s + c[i];
  const float tail = 0.5f * e * t * p;
  return {inverse_sqrt_2_pi * e, x < 0 ? tail : 1 - tail};
}

__device__ inline float gelu(float x) { return x * normal(x).distribution; }

}  // namespace recite::kernels
