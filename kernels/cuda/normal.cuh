// The normal distribution, for GELU.
#pragma once

#include "kernels/cuda/vectors.cuh"

namespace recite::kernels {

// Of the standard normal distribution at x: the density, and the probability of more than |x|, which is
// density(x) sqrt(pi / 2) erfcx(z), z = |x| / sqrt(2), where erfcx(z) / t is nearly a polynomial of s = 2 t - 1,
// t = 1 / (1 + 0.45 z): of degree 9 to 3.9e-8 (kernels/simd/math.h), of degree 5 to 2.8e-5, which is enough for what is
// rounded to 16 bits. Less than half the instructions of erff and expf, which would take longer than the memory.
struct Normal {
  float density, tail;
};
template <class Element>
__device__ Normal normal(float x) {
  constexpr bool rounded = sizeof(Element) == 2;
  constexpr int degree = rounded ? 5 : 9;
  constexpr float rounded_c[] = {0.46714247428636957f, 0.3355229788585548f,    0.16279517529121168f,
                                 0.04149315914396594f, -0.002977407709133813f, -0.003948330091744517f};
  constexpr float c[] = {0.46714029121240164f,     0.33543456120692602f,    0.16278914891576412f,
                         0.042139001178856356f,    -0.0028570213370573468f, -0.0051351830799745429f,
                         -0.00014665371901204063f, 0.00069955320057830011f, 1.6884499729039922e-5f,
                         -8.0601701624528278e-5f};
  constexpr float rate = 0.318198052f, inverse_sqrt_2_pi = 0.398942280f;  // 0.45 / sqrt(2)
  const float e = exp2_fast(x * x * (-log2_e / 2));
  const float t = reciprocal(1 + rate * fabsf(x)), s = 2 * t - 1;
  float p = 0;
#pragma unroll
  for (int i = degree; i >= 0; --i) p = p * s + (rounded ? rounded_c[i] : c[i]) / 2;
  return {inverse_sqrt_2_pi * e, e * t * p};
}

__device__ inline float distribution(float x, const Normal& of) { return x < 0 ? of.tail : 1 - of.tail; }

template <class Element>
__device__ float gelu(float x) {
  return x * distribution(x, normal<Element>(x));
}

// Its derivative.
template <class Element>
__device__ float gelu_slope(float x) {
  const Normal of = normal<Element>(x);
  return distribution(x, of) + x * of.density;
}

}  // namespace recite::kernels
