// Vectors of the instruction set that a *_simd.cpp file is compiled for: GCC's own vector types, so that the same
// source serves every set. RECITE_ISA names the set and its namespace.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstdint>

#include "kernels/simd/bf16.h"

#define RECITE_INLINE [[gnu::always_inline]] inline

namespace recite::kernels::RECITE_ISA {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class Real>
struct VectorOf;
template <>
struct VectorOf<float> {
  using Reals [[gnu::vector_size(vector_bytes)]] = float;
  using Integer = int32_t;
  using Integers [[gnu::vector_size(vector_bytes)]] = Integer;
};
template <>
struct VectorOf<double> {
  using Reals [[gnu::vector_size(vector_bytes)]] = double;
  using Integer = int64_t;
  using Integers [[gnu::vector_size(vector_bytes)]] = Integer;
};
template <class Real>
using Vector = typename VectorOf<Real>::Reals;
// Integers of the same width, one for each lane.
template <class Real>
using IntegerVector = typename VectorOf<Real>::Integers;
template <class Real>
constexpr int lanes = vector_bytes / static_cast<int>(sizeof(Real));

template <class Real>
struct [[gnu::packed, gnu::may_alias]] Unaligned {
  Vector<Real> value;
};

template <class Real>
RECITE_INLINE Vector<Real> broadcast(Real x) {
  return x - Vector<Real>{};
}

template <class Real>
RECITE_INLINE Vector<Real> load(const Real* from) {
  return reinterpret_cast<const Unaligned<Real>*>(from)->value;
}

template <class Real>
RECITE_INLINE void store(Vector<Real> v, Real* to) {
  reinterpret_cast<Unaligned<Real>*>(to)->value = v;
}

// The first `count` numbers, then zeros.
template <class Real>
RECITE_INLINE Vector<Real> load(const Real* from, int64_t count) {
  if (count >= lanes<Real>) return load(from);
  Vector<Real> v{};
  for (int64_t l = 0; l < count; ++l) v[l] = from[l];
  return v;
}

template <class Real>
RECITE_INLINE void store(Vector<Real> v, Real* to, int64_t count) {
  if (count >= lanes<Real>) return store(v, to);
  for (int64_t l = 0; l < count; ++l) to[l] = v[l];
}

struct [[gnu::packed, gnu::may_alias]] UnalignedHalves {
  using Halves [[gnu::vector_size(vector_bytes / 2)]] = uint16_t;
  Halves value;
};
using Words [[gnu::vector_size(vector_bytes)]] = uint32_t;

RECITE_INLINE Vector<float> load(const bf16* from) {
  const auto halves = reinterpret_cast<const UnalignedHalves*>(from)->value;
  return (Vector<float>)(__builtin_convertvector(halves, Words) << 16);
}

// The upper half of each, rounded to the nearest, to even of two; not-a-numbers stay so.
RECITE_INLINE Words upper_halves(Vector<float> v) {
  const Words bits = (Words)v, rounded = (bits + (0x7fff + ((bits >> 16) & 1))) >> 16;
  return v == v ? rounded : Words{} + 0x7fc0;
}

#if defined(__AVX512BF16__)
RECITE_INLINE void store(Vector<float> v, bf16* to) {  // of subnormal numbers: 0
  reinterpret_cast<UnalignedHalves*>(to)->value = (UnalignedHalves::Halves)_mm512_cvtneps_pbh(v);
}
#else
RECITE_INLINE void store(Vector<float> v, bf16* to) {
  reinterpret_cast<UnalignedHalves*>(to)->value = __builtin_convertvector(upper_halves(v), UnalignedHalves::Halves);
}
#endif

RECITE_INLINE Vector<float> load(const bf16* from, int64_t count) {
  if (count >= lanes<float>) return load(from);
  Words bits{};
  for (int64_t l = 0; l < count; ++l) bits[l] = uint32_t{from[l].bits} << 16;
  return (Vector<float>)bits;
}

RECITE_INLINE void store(Vector<float> v, bf16* to, int64_t count) {
  if (count >= lanes<float>) return store(v, to);
  const Words bits = upper_halves(v);
  for (int64_t l = 0; l < count; ++l) to[l].bits = static_cast<uint16_t>(bits[l]);
}

// The larger of each pair; b where one of them is not a number. (Of a comparison the compiler makes two instructions.)
#if defined(__AVX512F__)
RECITE_INLINE Vector<float> larger(Vector<float> a, Vector<float> b) { return _mm512_maskz_max_ps(0xffff, a, b); }
RECITE_INLINE Vector<double> larger(Vector<double> a, Vector<double> b) { return _mm512_maskz_max_pd(0xff, a, b); }
#elif defined(__AVX2__)
RECITE_INLINE Vector<float> larger(Vector<float> a, Vector<float> b) { return _mm256_max_ps(a, b); }
RECITE_INLINE Vector<double> larger(Vector<double> a, Vector<double> b) { return _mm256_max_pd(a, b); }
#else
RECITE_INLINE Vector<float> larger(Vector<float> a, Vector<float> b) { return a > b ? a : b; }
RECITE_INLINE Vector<double> larger(Vector<double> a, Vector<double> b) { return a > b ? a : b; }
#endif

template <class Real>
RECITE_INLINE IntegerVector<Real> lane_numbers() {
  IntegerVector<Real> numbers{};
  for (int l = 0; l < lanes<Real>; ++l) numbers[l] = l;
  return numbers;
}

// In a fixed order: halves onto each other.
template <class Real>
RECITE_INLINE Real sum(Vector<Real> v) {
  for (int half = lanes<Real> / 2; half > 0; half /= 2) v += __builtin_shuffle(v, lane_numbers<Real>() ^ half);
  return v[0];
}

template <class Real>
RECITE_INLINE Real maximum(Vector<Real> v) {
  for (int half = lanes<Real> / 2; half > 0; half /= 2)
    v = larger(v, __builtin_shuffle(v, lane_numbers<Real>() ^ half));
  return v[0];
}

}  // namespace recite::kernels::RECITE_ISA
