#include "kernels/attention/attention_simd.h"
#include "kernels/attention/scores_simd.h"

namespace recite::kernels::RECITE_ISA {

namespace {

template <class Element>
struct Decode {
  using Real = Sums<Element>;
  static constexpr int64_t step = lanes<Real>;
  const AttentionDecodeHead<Element>& head;
  const AttentionPosition<Real>& position;
  Real *vector, *scores;  // d and the number of keys, each to a multiple of vectors
  const int64_t d = head.head, first = head.place > head.window ? head.place - head.window : 0,
                seen = head.place + 1 - first;

  // vector = a query or key, rotated to its place.
  void rotate(const Element* from) {
    for (int64_t c = 0; c < d; c += step) store(load(from + c, d - c), vector + c);
    const int64_t half = position.rotary / 2;
    for (int64_t c = 0; c < half; ++c) {
      const Real cos = position.cos[head.place * half + c], sin = position.sin[head.place * half + c];
      const Real a = vector[c], b = vector[c + half];
      vector[c] = a * cos - b * sin;
      vector[c + half] = b * cos + a * sin;
    }
  }

  void keep_token() {
    rotate(head.token + d);
    for (int64_t c = 0; c < d; c += step) store(load(vector + c), head.keys + head.place * d + c, d - c);
    for (int64_t c = 0; c < d; ++c) head.values[head.place * d + c] = head.token[2 * d + c];
  }

  // scores = the seen keys', in base 2; those of the last vector that are no keys' are masked.
  void score() {
    rotate(head.token);
    const Real slope = Real(head.slope * log2_e), scale = Real(log2_e / __builtin_sqrt(static_cast<double>(d)));
    for (int64_t c = 0; c < d; ++c) vector[c] *= c < position.twice_from ? scale : 2 * scale;
    for (int64_t j = 0; j < seen; ++j) {
      const Element* key = head.keys + (first + j) * d;
      Vector<Real> products{};
      for (int64_t c = 0; c < d; c += step) products += load(vector + c) * load(key + c, d - c);
      scores[j] = sum<Real>(products) - slope * static_cast<Real>(seen - 1 - j);
    }
    for (int64_t j = seen; j % step != 0; ++j) scores[j] = masked_score<Real>;
  }

  // scores = probabilities, but for the factor that is returned.
  Real weigh() {
    Vector<Real> high = broadcast(masked_score<Real>), total{};
    for (int64_t j = 0; j < seen; j += step) high = larger(load(scores + j), high);
    const Real highest = maximum<Real>(high);
    for (int64_t j = 0; j < seen; j += step) {
      const Vector<Real> p = exp2_of_negative<Real>(load(scores + j) - highest);
      store(p, scores + j);
      total += p;
    }
    return 1 / sum<Real>(total);
  }

  // out = factor times the sum of weighted values, a few vectors of it at a time.
  void mix(Real factor) {
    constexpr int vectors = 4;
    for (int64_t begin = 0; begin < d; begin += vectors * step) {
      Vector<Real> sums[vectors]{};
      for (int64_t j = 0; j < seen; ++j) {
        const Element* value = head.values + (first + j) * d;
        for (int v = 0; v < vectors; ++v) {
          const int64_t c = begin + v * step;
          if (c < d) sums[v] += scores[j] * load(value + c, d - c);
        }
      }
      for (int v = 0; v < vectors; ++v)
        if (const int64_t c = begin + v * step; c < d) store(factor * sums[v], head.out + c, d - c);
    }
  }
};

}  // namespace

template <class Element>
void attention_decode(const AttentionDecodeHead<Element>& head, const AttentionPosition<Sums<Element>>& position,
                      Sums<Element>* vector, Sums<Element>* scores) {
  Decode<Element> decode{head, position, vector, scores};
  decode.keep_token();
  decode.score();
  decode.mix(decode.weigh());
}

#define RECITE_INSTANTIATE(Element)                                                                            \
  template void attention_decode(const AttentionDecodeHead<Element>&, const AttentionPosition<Sums<Element>>&, \
                                 Sums<Element>*, Sums<Element>*);
RECITE_INSTANTIATE(float)
RECITE_INSTANTIATE(double)
RECITE_INSTANTIATE(bf16)

}  // namespace recite::kernels::RECITE_ISA
