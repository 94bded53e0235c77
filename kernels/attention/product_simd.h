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

// c (tile_rows, V vectors) += a b, with b (depth, V vectors) and a (tile_rows, depth), or (depth, tile_rows) when
// `transposed`. Rows are `a_row`, `b_row`, `c_row` apart.
template <bool transposed, int V, class Real>
RECITE_INLINE void add_tile(const Real* a, int64_t a_row, const Real* b, int64_t b_row, int64_t depth, Real* c,
                            int64_t c_row) {
  Vector<Real> sum[tile_rows][V];
  for (int r = 0; r < tile_rows; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = load(c + r * c_row + v * lanes<Real>);
  for (int64_t k = 0; k < depth; ++k) {
    Vector<Real> row[V];
    for (int v = 0; v < V; ++v) row[v] = load(b + k * b_row + v * lanes<Real>);
    for (int r = 0; r < tile_rows; ++r) {
      const Real factor = transposed ? a[k * a_row + r] : a[r * a_row + k];
      for (int v = 0; v < V; ++v) sum[r][v] += factor * row[v];
    }
  }
  for (int r = 0; r < tile_rows; ++r)
    for (int v = 0; v < V; ++v) store(sum[r][v], c + r * c_row + v * lanes<Real>);
}

// The same with any number of vectors.
template <bool transposed, class Real>
[[gnu::noinline]] void add_product(const Real* a, int64_t a_row, const Real* b, int64_t b_row, int64_t depth,
                                   int64_t vectors, Real* c, int64_t c_row) {
  for (; vectors > 0; vectors -= tile_vectors) {
    switch (vectors) {
      case 1:
        add_tile<transposed, 1>(a, a_row, b, b_row, depth, c, c_row);
        break;
#if defined(__AVX512F__)
      case 2:
        add_tile<transposed, 2>(a, a_row, b, b_row, depth, c, c_row);
        break;
      case 3:
        add_tile<transposed, 3>(a, a_row, b, b_row, depth, c, c_row);
        break;
#endif
      default:
        add_tile<transposed, tile_vectors>(a, a_row, b, b_row, depth, c, c_row);
    }
    b += tile_vectors * lanes<Real>;
    c += tile_vectors * lanes<Real>;
  }
}

}  // namespace recite::kernels::RECITE_ISA
