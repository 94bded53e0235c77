#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/attention/attention_simd.h"
#include "kernels/simd/workspace.h"

namespace recite::kernels {

namespace {

// What every head needs, and the arrays it points to.
template <class Real>
struct Setup {
  Setup(const AttentionShape& shape, const AttentionPosition<Real>& position)
      : rows(rounded_up(shape.time, 48)),    // a multiple of 16 lanes, and of tiles of 4 or 6 rows
        leading(rounded_up(rows, 64) | 64),  // an odd number of 256 bytes: no two dimensions share all cache sets
        width(rounded_up(shape.head, widest_lanes)),
        cos(transposed(position.cos, shape.time, position.rotary / 2, leading)),
        sin(transposed(position.sin, shape.time, position.rotary / 2, leading)),
        scale(Workspace<Real>::zeros(width)),
        window(position.window),
        slope(position.slope),
        work{shape, cos.data(), sin.data(), scale.data(), position.rotary, rows, width, leading} {
    for (int64_t c = 0; c < shape.head; ++c) {
      const double counted = c < position.twice_from ? 1 : 2;
      scale[c] = static_cast<Real>(counted * 1.4426950408889634 / std::sqrt(static_cast<double>(shape.head)));
    }
  }

  AttentionHead head(int64_t index) const {
    const int64_t h = index % work.shape.heads, everything = work.shape.time;
    return {index / work.shape.heads, h, window ? std::min(window[h], everything) : everything,
            slope ? static_cast<double>(slope[h]) : 0};
  }
  int64_t heads() const { return work.shape.batch * work.shape.heads; }

  const int64_t rows, leading, width;
  const Workspace<Real> cos, sin;
  Workspace<Real> scale;
  const int64_t* window;
  const Real* slope;
  const AttentionWork<Real> work;
};

}  // namespace

// Heads are handed out as threads become free, for windowed ones are quick; each is one thread's work.
template <class Element>
void attention_forward_cpu(const AttentionShape& shape, const AttentionPosition<Sums<Element>>& position,
                           const Element* qkv, Element* out, Sums<Element>* log_sum) {
  const Setup<Sums<Element>> setup(shape, position);
  const auto kernel = RECITE_SIMD(attention_forward<Element>);
#pragma omp parallel
  {
    Workspace<Sums<Element>> workspace(attention_forward_workspace(setup.work));
#pragma omp for schedule(dynamic)
    for (int64_t index = 0; index < setup.heads(); ++index)
      kernel(setup.work, setup.head(index), qkv, out, log_sum, workspace.data());
  }
}

template <class Element>
void attention_backward_cpu(const AttentionShape& shape, const AttentionPosition<Sums<Element>>& position,
                            const Element* qkv, const Element* out, const Sums<Element>* log_sum, const Element* dout,
                            Element* dqkv) {
  const Setup<Sums<Element>> setup(shape, position);
  const auto kernel = RECITE_SIMD(attention_backward<Element>);
#pragma omp parallel
  {
    Workspace<Sums<Element>> workspace(attention_backward_workspace(setup.work));
#pragma omp for schedule(dynamic)
    for (int64_t index = 0; index < setup.heads(); ++index)
      kernel(setup.work, setup.head(index), qkv, out, log_sum, dout, dqkv, workspace.data());
  }
}

// Heads are handed out as in the forward. Little work is done sooner than other threads are woken.
template <class Element>
void attention_decode_cpu(const AttentionDecodeShape& shape, const AttentionPosition<Sums<Element>>& position,
                          const Element* qkv, const int32_t* length, Element* keys, Element* values, Element* out) {
  const int64_t heads = shape.heads, d = shape.head, rows = shape.batch * heads;
  constexpr int64_t worth_threads = 1 << 16;
  const int64_t numbers = heads * d * std::accumulate(length, length + shape.batch, shape.batch);
  const auto kernel = RECITE_SIMD(attention_decode<Element>);
#pragma omp parallel if (numbers >= worth_threads)
  {
    Workspace<Sums<Element>> vector(rounded_up(d, widest_lanes)), scores(rounded_up(shape.max_tokens, widest_lanes));
#pragma omp for schedule(dynamic)
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t h = row % heads, cached = row * shape.max_tokens * d;
      const AttentionDecodeHead<Element> head{.head = d,
                                              .place = length[row / heads],
                                              .window = position.window ? position.window[h] : INT64_MAX,
                                              .slope = position.slope ? static_cast<double>(position.slope[h]) : 0,
                                              .token = qkv + row * 3 * d,
                                              .keys = keys + cached,
                                              .values = values + cached,
                                              .out = out + row * d};
      kernel(head, position, vector.data(), scores.data());
    }
  }
}

#define RECITE_INSTANTIATE(Element)                                                                                    \
  template void attention_forward_cpu(const AttentionShape&, const AttentionPosition<Sums<Element>>&, const Element*,  \
                                      Element*, Sums<Element>*);                                                       \
  template void attention_backward_cpu(const AttentionShape&, const AttentionPosition<Sums<Element>>&, const Element*, \
                                       const Element*, const Sums<Element>*, const Element*, Element*);                \
  template void attention_decode_cpu(const AttentionDecodeShape&, const AttentionPosition<Sums<Element>>&,             \
                                     const Element*, const int32_t*, Element*, Element*, Element*);
RECITE_INSTANTIATE(float)
RECITE_INSTANTIATE(double)
RECITE_INSTANTIATE(bf16)

}  // namespace recite::kernels
