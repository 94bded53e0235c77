// Functions of vectors, accurate to a few units in the last place, without a branch or a call.
#pragma once

#include "kernels/simd/vector.h"

namespace recite::kernels::RECITE_ISA {

constexpr double log2_e = 1.4426950408889634, ln_2 = 0.6931471805599453;

// Of 2^r = 1 + c[0] r + c[1] r^2 + ... for |r| <= 1/2. float32: the polynomial with the least relative error, 9.2e-8;
// float64: Taylor's, 1e-17. And the numbers of the format.
template <class Real>
struct Exp2;
template <>
struct Exp2<float> {
  static constexpr float c[] = {0.6931470036506653f, 0.24022242426872253f, 0.05550733581185341f, 0.009671512991189957f,
                                0.001326472731307149f};
  static constexpr float to_integer =
      12582912.f;  // 1.5 * 2^23: adding it rounds, and leaves the integer in the low bits
  static constexpr float zero = -127, largest = 127;  // exponents of 0 and of the largest numbers
  static constexpr int mantissa_bits = 23;
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
};
template <>
struct Exp2<double> {
  static constexpr double c[] = {0.6931471805599453,     0.2402265069591007,     0.055504108664821576,
                                 0.009618129107628477,   0.0013333558146428441,  0.00015403530393381606,
                                 1.5252733804059838e-05, 1.3215486790144305e-06, 1.0178086009239696e-07,
                                 7.054911620801121e-09,  4.44553827187081e-10,   2.5678435993488196e-11,
                                 1.3691488853904124e-12};
  static constexpr double to_integer = 6755399441055744.;
  static constexpr double zero = -1023, largest = 1023;
  static constexpr int mantissa_bits = 52;
  static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
};

// 2^r times 2^k, where `shifted` is k + to_integer.
template <class Real>
RECITE_INLINE Vector<Real> exp2_of(Vector<Real> r, Vector<Real> shifted) {
  constexpr int terms = sizeof(Exp2<Real>::c) / sizeof(Real);
  Vector<Real> p = broadcast(Exp2<Real>::c[terms - 1]);
#pragma GCC unroll 16
  for (int i = terms - 2; i >= 0; --i) p = p * r + Exp2<Real>::c[i];
  p = p * r + Real(1);
  return (Vector<Real>)((IntegerVector<Real>)p + ((IntegerVector<Real>)shifted << Exp2<Real>::mantissa_bits));
}

// 2^x for x <= 0; exactly 0 below the normal numbers.
template <class Real>
RECITE_INLINE Vector<Real> exp2_of_negative(Vector<Real> x) {
  x = larger(broadcast(Exp2<Real>::zero), x);  // in this order NaN stays NaN
  const Vector<Real> shifted = x + Exp2<Real>::to_integer;
  return exp2_of<Real>(x - (shifted - Exp2<Real>::to_integer), shifted);
}

// e^x between 2^zero and 2^largest, about: constant beyond.
template <class Real>
RECITE_INLINE Vector<Real> exp(Vector<Real> x) {
  constexpr Real low = (Exp2<Real>::zero + Real(1.75)) * Real(ln_2),
                 high = (Exp2<Real>::largest + Real(0.25)) * Real(ln_2);
  x = -larger(broadcast(-high), -larger(broadcast(low), x));
  const Vector<Real> shifted = x * Real(log2_e) + Exp2<Real>::to_integer;
  const Vector<Real> k = shifted - Exp2<Real>::to_integer;
  const Vector<Real> r = (x - k * Exp2<Real>::ln2_high) - k * Exp2<Real>::ln2_low;
  return exp2_of<Real>(r * Real(log2_e), shifted);
}

template <class Real>
RECITE_INLINE Vector<Real> sigmoid(Vector<Real> x) {
  return 1 / (1 + exp<Real>(-x));
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), and log(1 + e) = 2 atanh(e / (2 + e)), whose argument is at most 1/3.
template <class Real>
RECITE_INLINE Vector<Real> softplus(Vector<Real> x) {
  const Vector<Real> e = exp<Real>(x < 0 ? x : -x);
  const Vector<Real> s = e / (2 + e), square = s * s;
  constexpr int terms = sizeof(Real) == 4 ? 8 : 17;
  Vector<Real> p = broadcast(Real(1) / (2 * terms - 1));
#pragma GCC unroll 17
  for (int k = terms - 2; k >= 0; --k) p = p * square + Real(1) / (2 * k + 1);
  return (x < 0 ? Vector<Real>{} : x) + 2 * s * p;
}

// The standard normal distribution's density and distribution function.
template <class Real>
struct Normal {
  Vector<Real> density, distribution;
};

// Q(|x|) = density(x) * sqrt(pi / 2) * erfcx(z), z = |x| / sqrt(2), and erfcx(z) / t is nearly a polynomial of
// s = 2 t - 1, t = 1 / (1 + 0.45 z): of degree 9 to 3.9e-8.
RECITE_INLINE Normal<float> normal(Vector<float> x) {
  constexpr float c[] = {0.46714029121240164f,     0.33543456120692602f,    0.16278914891576412f,
                         0.042139001178856356f,    -0.0028570213370573468f, -0.0051351830799745429f,
                         -0.00014665371901204063f, 0.00069955320057830011f, 1.6884499729039922e-5f,
                         -8.0601701624528278e-5f};
  constexpr float rate = 0.318198052f, inverse_sqrt_2_pi = 0.398942280f;  // 0.45 / sqrt(2)
  const Vector<float> e = exp2_of_negative<float>(x * x * static_cast<float>(-log2_e / 2));
  const Vector<float> t = 1 / (1 + rate * (x < 0 ? -x : x)), s = 2 * t - 1;
  Vector<float> p = broadcast(c[9]);
#pragma GCC unroll 9
  for (int i = 8; i >= 0; --i) p = p * s + c[i];
  const Vector<float> tail = 0.5f * e * t * p;
  return {inverse_sqrt_2_pi * e, x < 0 ? tail : 1 - tail};
}

// For tests and reference runs: by the C library, lane by lane.
RECITE_INLINE Normal<double> normal(Vector<double> x) {
  constexpr double inverse_sqrt_2_pi = 0.3989422804014327, sqrt_half = 0.7071067811865476;
  Normal<double> to{};
  for (int l = 0; l < lanes<double>; ++l) {
    to.density[l] = inverse_sqrt_2_pi * __builtin_exp(-x[l] * x[l] / 2);
    to.distribution[l] = 0.5 * __builtin_erfc(-x[l] * sqrt_half);
  }
  return to;
}

}  // namespace recite::kernels::RECITE_ISA
