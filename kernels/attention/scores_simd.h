// Scores of a group of queries, tile_rows of them, against a block of keys, for *_simd.cpp files.
#pragma once

#include "kernels/attention/head_simd.h"
#include "kernels/attention/product_simd.h"

namespace recite::kernels::RECITE_ISA {

// The softmax of a masked score is 0: its power of 2 is.
template <class Real>
constexpr Real masked_score = Real(-1e30);

// The keys of a group and a block: those that any of its queries sees, and what whole vectors, and whole groups of keys
// before its own, add to them.
struct KeyRange {
  int64_t first, last;     // keys of the block: [first, last), from the block's first; none when last <= first
  int64_t begin, vectors;  // whole vectors around them, from the block's first

  template <class Real>
  RECITE_INLINE static KeyRange of(int64_t query, int64_t window, int64_t block) {
    const int64_t back = (window + tile_rows - 1) / tile_rows * tile_rows;
    const int64_t first = query - back > block ? query - back - block : 0;
    const int64_t end = query + tile_rows - block;
    const int64_t last = end < attention_key_block ? end : attention_key_block;
    const int64_t begin = first / lanes<Real> * lanes<Real>;
    return {first, last, begin, (last - begin + lanes<Real> - 1) / lanes<Real>};
  }
};

template <class Factors, class Real = typename Factors::Real>
struct Scores {
  const AttentionWork<Real>& work;
  const AttentionHead& head;
  const Real slope = Real(head.slope * log2_e);

  // The range's part of to (tile_rows, attention_key_block) = products of vectors: a (d, leading) of the group, b
  // (d, leading) of the block's keys; or a (tile_rows, width) when it is not transposed. d counts words.
  template <bool transposed>
  RECITE_INLINE void products(const Real* a, const Real* b, const KeyRange& range, Real* to) const {
    for (int r = 0; r < tile_rows; ++r)
      for (int64_t v = 0; v < range.vectors; ++v)
        store(Vector<Real>{}, to + r * attention_key_block + range.begin + v * lanes<Real>);
    const int64_t depth = (work.shape.head + Factors::per_word - 1) / Factors::per_word;
    add_product<Factors, transposed>(a, transposed ? work.leading : work.width, b + range.begin, work.leading, depth,
                                     range.vectors, to + range.begin, attention_key_block);
  }

  // The score of `query` and a vector of keys from `key` on, given their products.
  RECITE_INLINE Vector<Real> score(Vector<Real> product, int64_t query, int64_t key) const {
    using Integer = decltype(lane_numbers<Real>()[0] + 0);
    const IntegerVector<Real> distance = static_cast<Integer>(query - key) - lane_numbers<Real>();
    if (slope != 0) product -= slope * __builtin_convertvector(distance, Vector<Real>);
    const bool all_seen = key + lanes<Real> - 1 <= query && query - key <= head.window;
    if (all_seen) return product;
    const auto window = static_cast<Integer>(head.window);
    return ((distance >= 0) & (distance <= window)) ? product : broadcast(masked_score<Real>);
  }
};

}  // namespace recite::kernels::RECITE_ISA
