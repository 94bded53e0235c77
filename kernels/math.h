// Scalar functions that the CPU kernels share.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace recite::kernels {

// exp(x) without a branch or a call, so that loops over it are vectorised: 2^k times a polynomial on +-ln(2)/2, within
// 2e-7 of the true value, relatively, where that is a normal number; 0 below.
inline float exponential(float x) {
  constexpr float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  constexpr float to_integer = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer, held in the lowest bits
  const float clamped = std::min(std::max(x, -88.f), 88.f);
  const float shifted = clamped * log2_e + to_integer;
  const float k = shifted - to_integer;
  const float r = (clamped - k * ln2_high) - k * ln2_low;
  float p = 1.f / 5040;
  for (const float c : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f}) p = p * r + c;
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(to_integer) + 127;
  return p * std::bit_cast<float>(exponent << 23);
}
inline double exponential(double x) { return std::exp(x); }

template <class Real>
Real sigmoid(Real x) {
  return 1 / (1 + std::exp(-x));
}

template <class Real>
Real silu(Real x) {
  return x * sigmoid(x);
}

// d silu(x) / dx
template <class Real>
Real silu_slope(Real x) {
  const Real s = sigmoid(x);
  return s * (1 + x * (1 - s));
}

// log(1 + exp(x)), without overflow.
template <class Real>
Real softplus(Real x) {
  return std::max(x, Real(0)) + std::log1p(std::exp(-std::abs(x)));
}

}  // namespace recite::kernels
