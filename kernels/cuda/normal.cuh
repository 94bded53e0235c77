// GELU, x Phi(x), and its derivative, Phi(x) + x phi(x), of the standard normal distribution. Where memory is fast the
// number of instructions counts: what is rounded to 16 bits has polynomials of its own, found by linear programming.
#pragma once

#include "kernels/cuda/vectors.cuh"

namespace recite::kernels {

template <int Count>
__device__ float polynomial(const float (&c)[Count], float x) {
  float p = c[Count - 1];
#pragma unroll
  for (int i = Count - 2; i >= 0; --i) p = p * x + c[i];
  return p;
}

// Of the standard normal distribution at x: the density, and the probability of more than |x|, which is
// density(x) sqrt(pi / 2) erfcx(z), z = |x| / sqrt(2), where erfcx(z) / t is nearly a polynomial of s = 2 t - 1,
// t = 1 / (1 + 0.45 z), to 3.9e-8 (kernels/simd/math.h). Less than half the instructions of erff and expf, which would
// take longer than the memory.
struct Normal {
  float density, tail;
};
__device__ inline Normal normal(float x) {
  constexpr float c[] = {0.46714029121240164f / 2,     0.33543456120692602f / 2,    0.16278914891576412f / 2,
                         0.042139001178856356f / 2,    -0.0028570213370573468f / 2, -0.0051351830799745429f / 2,
                         -0.00014665371901204063f / 2, 0.00069955320057830011f / 2, 1.6884499729039922e-5f / 2,
                         -8.0601701624528278e-5f / 2};
  constexpr float rate = 0.318198052f, inverse_sqrt_2_pi = 0.398942280f;  // 0.45 / sqrt(2)
  const float e = exp2_fast(x * x * (-log2_e / 2));
  const float t = reciprocal(1 + rate * fabsf(x));
  return {inverse_sqrt_2_pi * e, e * t * polynomial(c, 2 * t - 1)};
}
__device__ inline float distribution(float x, const Normal& of) { return x < 0 ? of.tail : 1 - of.tail; }

// To 16 bits: Phi(x) = 1 / (1 + 2^(x p(|x|))), as log2(Phi / (1 - Phi)) is odd. GELU is right to 1.5e-5 and, relative
// to itself, to 1.2e-4 up to |x| = 3, 2.0e-3 up to 5.5, 3.7e-3 up to 8; below -9 it is nearer to 0 than 1e-17.
__device__ inline float rounded_gelu(float x) {
  constexpr float c[] = {-2.29904747f,  -0.0176670272f,  -0.0722518787f,  -0.0270082001f,
                         0.0106993574f, -0.00159458141f, 0.000112902472f, -3.14338786e-6f};
  constexpr float far = 9;
  return x * reciprocal(1 + exp2_fast(x * polynomial(c, fminf(fabsf(x), far))));
}

// The derivative: at -|x| it is 2^-(x^2 log2(e) / 2) times nearly a polynomial of |x|, to 1.2e-4 of itself and 1e-7,
// and at |x| 1 less that. 1 of NaN, of which GELU is NaN.
__device__ inline float rounded_gelu_slope(float x) {
  constexpr float c[] = {0.499946147f,  -0.796455979f,   0.24236919f,    -0.115246229f,
                         0.0401028842f, -0.00921871141f, 0.00121531531f, -6.84597981e-5f};
  constexpr float far = 8, sqrt_half_log2_e = 0.849321800f;
  const float z = fminf(fabsf(x), far), root = sqrt_half_log2_e * z, below = exp2_fast(-root * root) * polynomial(c, z);
  return x < 0 ? below : 1 - below;
}

template <class Element>
__device__ float gelu(float x) {
  if constexpr (sizeof(Element) == 2)
    return rounded_gelu(x);
  else
    return x * distribution(x, normal(x));
}

// Its derivative.
template <class Element>
__device__ float gelu_slope(float x) {
  if constexpr (sizeof(Element) == 2) {
    return rounded_gelu_slope(x);
  } else {
    const Normal of = normal(x);
    return distribution(x, of) + x * of.density;
  }
}

}  // namespace recite::kernels
