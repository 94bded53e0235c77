// Products of small matrices that lie in the cache, for *_simd.cpp files.
#pragma once

#include "kernels/simd/vector.h"

namespace recite::kernels::RECITE_ISA {

// Rows and vectors of a tile that is held in registers: 24 of 32, 12 of 16, or 8 of 16 where a product and its sum are
// two instructions.
#if defined(__AVX512F__)
constexpr int tile_rows = 6, tile_vectors = 4;
#elif defined(__AVX2__)
constexpr int tile_rows = 6, tile_vectors = 2;
#else
constexpr int tile_rows = 4, tile_vectors = 2;
#endif

// What the factors of a product are: numbers, one after the other.
template <class RealType>
struct Numbers {
  using Real = RealType;
  static constexpr int per_word = 1;
  RECITE_INLINE static Vector<Real> add(Vector<Real> sum, const Real* a, Vector<Real> b) { return sum + *a * b; }
};

#if defined(__AVX512BF16__)
// Or words of two bf16 each, of which one instruction adds both products. The arrays are declared as of float32.
struct Bf16Pairs {
  using Real = float;
  static constexpr int per_word = 2;
  RECITE_INLINE static Vector<float> add(Vector<float> sum, const float* a, Vector<float> b) {
    struct [[gnu::may_alias]] Word {
      int bits;
    };
    const __m512i pair = _mm512_set1_epi32(reinterpret_cast<const Word*>(a)->bits);
    return _mm512_dpbf16_ps(sum, (__m512bh)pair, (__m512bh)b);
  }
  RECITE_INLINE static Vector<float> pair(Vector<float> low, Vector<float> high) {
    const __m512i interleaved = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                                 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (Vector<float>)_mm512_permutexvar_epi16(interleaved, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
};
#endif

// c (tile_rows, V vectors) += a b, with b (depth, V vectors) and a (tile_rows, depth), or (depth, tile_rows) when
// `transposed`; depth counts words. Rows are `a_row`, `b_row`, `c_row` apart.
template <class Factors, bool transposed, int V, class Real = typename Factors::Real>
RECITE_INLINE void add_tile(const Real* a, int64_t a_row, const Real* b, int64_t b_row, int64_t depth, Real* c,
                            int64_t c_row) {
  Vector<Real> sum[tile_rows][V];
  for (int r = 0; r < tile_rows; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = load(c + r * c_row + v * lanes<Real>);
  for (int64_t k = 0; k < depth; ++k) {
    Vector<Real> row[V];
    for (int v = 0; v < V; ++v) row[v] = load(b + k * b_row + v * lanes<Real>);
    for (int r = 0; r < tile_rows; ++r) {
      const Real* factor = transposed ? a + k * a_row + r : a + r * a_row + k;
      for (int v = 0; v < V; ++v) sum[r][v] = Factors::add(sum[r][v], factor, row[v]);
    }
  }
  for (int r = 0; r < tile_rows; ++r)
    for (int v = 0; v < V; ++v) store(sum[r][v], c + r * c_row + v * lanes<Real>);
}

// The same with any number of vectors.
template <class Factors, bool transposed, class Real = typename Factors::Real>
[[gnu::noinline]] void add_product(const Real* a, int64_t a_row, const Real* b, int64_t b_row, int64_t depth,
                                   int64_t vectors, Real* c, int64_t c_row) {
  for (; vectors > 0; vectors -= tile_vectors) {
    switch (vectors) {
      case 1:
        add_tile<Factors, transposed, 1>(a, a_row, b, b_row, depth, c, c_row);
        break;
#if defined(__AVX512F__)
      case 2:
        add_tile<Factors, transposed, 2>(a, a_row, b, b_row, depth, c, c_row);
        break;
      case 3:
        add_tile<Factors, transposed, 3>(a, a_row, b, b_row, depth, c, c_row);
        break;
#endif
      default:
        add_tile<Factors, transposed, tile_vectors>(a, a_row, b, b_row, depth, c, c_row);
    }
    b += tile_vectors * lanes<Real>;
    c += tile_vectors * lanes<Real>;
  }
}

// The factors that elements of attention become: pairs where elements are bf16 and the instruction set multiplies such.
template <class Element>
struct FactorsOf {
  using type = Numbers<Sums<Element>>;
};
#if defined(__AVX512BF16__)
template <>
struct FactorsOf<bf16> {
  using type = Bf16Pairs;
};
#endif

// Rows 2 i and 2 i + 1 of (rows, size), `leading` apart, become the words of row i, in place; a row past the end counts
// as zeros.
template <class Factors, class Real = typename Factors::Real>
RECITE_INLINE void pair_rows(Real* x, int64_t rows, int64_t size, int64_t leading) {
  if constexpr (Factors::per_word == 2) {
    for (int64_t row = 0; row < rows; row += 2)
      for (int64_t i = 0; i < size; i += lanes<Real>) {
        const Vector<Real> low = load(x + row * leading + i);
        const Vector<Real> high = row + 1 < rows ? load(x + (row + 1) * leading + i) : Vector<Real>{};
        store(Factors::pair(low, high), x + row / 2 * leading + i);
      }
  }
}

// Of one row: numbers 2 i and 2 i + 1 become word i.
template <class Factors, class Real = typename Factors::Real>
RECITE_INLINE void pair_within_row(Real* x, int64_t begin, int64_t vectors) {
  if constexpr (Factors::per_word == 2) {
    for (int64_t v = 0; v < vectors; ++v)
      store(load(x + begin + v * lanes<Real>), reinterpret_cast<bf16*>(x) + begin + v * lanes<Real>);
  }
}

}  // namespace recite::kernels::RECITE_ISA
