// A head's vectors on their way between the model's arrays and the workspace, for *_simd.cpp files. Two layouts:
// rows (rows, width), dimensions side by side, and columns (d, leading), times side by side.
#pragma once

#include "kernels/attention/attention_simd.h"
#include "kernels/simd/math.h"

namespace recite::kernels::RECITE_ISA {

// Hands out parts of a thread's workspace.
template <class Real>
struct Carve {
  Real* next;
  RECITE_INLINE Real* operator()(int64_t size) {
    Real* part = next;
    next += size;
    return part;
  }
};

// A square of lanes x lanes numbers: log2(lanes) rounds, each of which swaps blocks across the diagonal.
template <class Real>
RECITE_INLINE void transpose(Vector<Real> (&v)[lanes<Real>]) {
  const IntegerVector<Real> l = lane_numbers<Real>();
#pragma GCC unroll 4
  for (int half = 1; half < lanes<Real>; half *= 2) {
    const IntegerVector<Real> in_upper = (l & half) != 0;
    const IntegerVector<Real> low = in_upper ? l + (lanes<Real> - half) : l,
                              high = in_upper ? l + lanes<Real> : l + half;
#pragma GCC unroll 16
    for (int i = 0; i < lanes<Real>; ++i) {
      if (i & half) continue;
      const Vector<Real> a = v[i], b = v[i + half];
      v[i] = __builtin_shuffle(a, b, low);
      v[i + half] = __builtin_shuffle(a, b, high);
    }
  }
}

// Times t .. t+lanes-1 of a (count, d) array, whose rows are `stride` apart, to columns; zeros from `count` on.
template <class Real, class Element>
void load_columns(const AttentionWork<Real>& work, const Element* from, int64_t stride, int64_t count, int64_t t,
                  Real* to) {
  const int64_t d = work.shape.head;
  for (int64_t c = 0; c < d; c += lanes<Real>) {
    Vector<Real> square[lanes<Real>];
    for (int l = 0; l < lanes<Real>; ++l)
      square[l] = t + l < count ? load(from + (t + l) * stride + c, d - c) : Vector<Real>{};
    transpose<Real>(square);
    for (int64_t l = 0; l < lanes<Real> && c + l < d; ++l) store(square[l], to + (c + l) * work.leading + t);
  }
}

template <class Real>
void columns_to_rows(const AttentionWork<Real>& work, const Real* from, Real* to) {
  for (int64_t t = 0; t < work.rows; t += lanes<Real>)
    for (int64_t c = 0; c < work.width; c += lanes<Real>) {
      Vector<Real> square[lanes<Real>];
      for (int l = 0; l < lanes<Real>; ++l)
        square[l] = c + l < work.shape.head ? load(from + (c + l) * work.leading + t) : Vector<Real>{};
      transpose<Real>(square);
      for (int l = 0; l < lanes<Real>; ++l) store(square[l], to + (t + l) * work.width + c);
    }
}

// Times t .. t+lanes-1 of a (T, d) array, whose rows are `stride` apart, to rows; zeros around it.
template <class Real, class Element>
void load_rows(const AttentionWork<Real>& work, const Element* from, int64_t stride, int64_t t, Real* to) {
  for (int64_t row = t; row < t + lanes<Real>; ++row)
    for (int64_t c = 0; c < work.width; c += lanes<Real>) {
      const bool inside = row < work.shape.time && c < work.shape.head;
      store(inside ? load(from + row * stride + c, work.shape.head - c) : Vector<Real>{}, to + row * work.width + c);
    }
}

// Rows to a (T, d) array whose rows are `stride` apart.
template <class Real, class Element>
void store_rows(const AttentionWork<Real>& work, const Real* from, Element* to, int64_t stride) {
  for (int64_t t = 0; t < work.shape.time; ++t)
    for (int64_t c = 0; c < work.shape.head; c += lanes<Real>)
      store(load(from + t * work.width + c), to + t * stride + c, work.shape.head - c);
}

// Rotates columns by the angles of their times, or back (sign -1).
template <class Real>
void rotate(const AttentionWork<Real>& work, Real sign, Real* x) {
  const int64_t half = work.rotary / 2;
  for (int64_t c = 0; c < half; ++c)
    for (int64_t t = 0; t < work.rows; t += lanes<Real>) {
      Real *first = x + c * work.leading + t, *second = first + half * work.leading;
      const Vector<Real> cos = load(work.cos + c * work.leading + t),
                         sin = sign * load(work.sin + c * work.leading + t);
      const Vector<Real> a = load(first), b = load(second);
      store(a * cos - b * sin, first);
      store(b * cos + a * sin, second);
    }
}

// The head's queries (0), keys (1) or values (2) in a (B, T, H, 3, d) array, whose times are `stride` apart.
template <class Real>
RECITE_INLINE int64_t part_at(const AttentionWork<Real>& work, const AttentionHead& head, int part) {
  const AttentionShape& s = work.shape;
  return ((head.batch * s.time * s.heads + head.head) * 3 + part) * s.head;
}
template <class Real>
RECITE_INLINE int64_t part_stride(const AttentionWork<Real>& work) {
  return work.shape.heads * 3 * work.shape.head;
}
// The head in a (B, T, H, d) array.
template <class Real>
RECITE_INLINE int64_t out_at(const AttentionWork<Real>& work, const AttentionHead& head) {
  return (head.batch * work.shape.time * work.shape.heads + head.head) * work.shape.head;
}
template <class Real>
RECITE_INLINE int64_t out_stride(const AttentionWork<Real>& work) {
  return work.shape.heads * work.shape.head;
}

// Asks for the times t .. t+lanes-1 of an array whose rows, of `size`, are `stride` apart: too far to be foreseen.
template <class Real, class Element>
RECITE_INLINE void fetch(const AttentionWork<Real>& work, const Element* from, int64_t stride, int64_t size,
                         int64_t t) {
  for (int64_t row = t; row < t + lanes<Real> && row < work.shape.time; ++row)
    for (int64_t c = 0; c < size; c += 64 / static_cast<int64_t>(sizeof(Element)))
      __builtin_prefetch(from + row * stride + c);
}

// Queries and keys as columns; values as columns and rows, where those are not null.
template <class Real, class Element>
void load_head(const AttentionWork<Real>& work, const AttentionHead& head, const Element* qkv, Real* queries,
               Real* keys, Real* value_columns, Real* value_rows) {
  const Element* from = qkv + part_at(work, head, 0);
  const int64_t d = work.shape.head, stride = part_stride(work), count = work.shape.time;
  for (int64_t t = 0; t < work.rows; t += lanes<Real>) {
    fetch(work, from, stride, 3 * d, t + lanes<Real>);
    load_columns(work, from, stride, count, t, queries);
    load_columns(work, from + d, stride, count, t, keys);
    if (value_columns) load_columns(work, from + 2 * d, stride, count, t, value_columns);
    if (value_rows) load_rows(work, from + 2 * d, stride, t, value_rows);
  }
}

// Rotates queries and keys; multiplies queries by `scale`, so that their products are scores in base 2.
template <class Real>
void prepare_scores(const AttentionWork<Real>& work, Real* queries, Real* keys) {
  rotate(work, Real(1), queries);
  rotate(work, Real(1), keys);
  for (int64_t c = 0; c < work.shape.head; ++c)
    for (int64_t t = 0; t < work.rows; t += lanes<Real>) {
      Real* at = queries + c * work.leading + t;
      store(work.scale[c] * load(at), at);
    }
}

}  // namespace recite::kernels::RECITE_ISA
