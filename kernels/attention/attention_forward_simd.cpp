#include "kernels/attention/scores_simd.h"

namespace recite::kernels::RECITE_ISA {

namespace {

template <class Factors>
struct Forward {
  using Real = typename Factors::Real;
  const AttentionWork<Real>& work;
  const AttentionHead& head;
  const Scores<Factors> scores{work, head};
  Real *queries, *keys, *values;  // columns, columns, rows: as factors
  Real *probabilities, *mixed;    // of a group: (tile_rows, attention_key_block), (tile_rows, width)
  Real highest[tile_rows], total[tile_rows];

  Forward(const AttentionWork<Real>& of, const AttentionHead& which, Real* workspace) : work(of), head(which) {
    Carve<Real> carve{workspace};
    queries = carve(work.width * work.leading);
    keys = carve(work.width * work.leading);
    values = carve(work.rows * work.width);
    probabilities = carve(tile_rows * attention_key_block);
    mixed = carve(tile_rows * work.width);
  }

  template <class Element>
  void load_all(const Element* qkv) {
    load_head<Real>(work, head, qkv, queries, keys, nullptr, values);
    prepare_scores(work, queries, keys);
    for (Real* columns : {queries, keys}) pair_rows<Factors>(columns, work.shape.head, work.rows, work.leading);
    pair_rows<Factors>(values, work.rows, work.width, work.width);
  }

  // The group of queries from `query` on.
  void group(int64_t query) {
    for (int64_t i = 0; i < tile_rows * work.width; i += lanes<Real>) store(Vector<Real>{}, mixed + i);
    for (int r = 0; r < tile_rows; ++r) {
      highest[r] = masked_score<Real>;
      total[r] = 0;
    }
    for (int64_t block = 0; block < query + tile_rows; block += attention_key_block) {
      const KeyRange range = KeyRange::of<Real>(query, head.window, block);
      if (range.last <= range.first) continue;
      scores.template products<true>(queries + query, keys + block, range, probabilities);
      for (int r = 0; r < tile_rows; ++r) softmax(r, query + r, block, range);
      constexpr int word = Factors::per_word;
      add_product<Factors, false>(probabilities + range.first / word, attention_key_block,
                                  values + (block + range.first) / word * work.width, work.width,
                                  (range.last - range.first) / word, work.width / lanes<Real>, mixed, work.width);
    }
  }

  // Row r's probabilities of a block, from its products; what was mixed before is scaled to the new highest score.
  RECITE_INLINE void softmax(int r, int64_t query, int64_t block, const KeyRange& range) {
    Real* row = probabilities + r * attention_key_block + range.begin;
    Vector<Real> high = broadcast(highest[r]);
    for (int64_t v = 0; v < range.vectors; ++v) {
      const Vector<Real> s = scores.score(load(row + v * lanes<Real>), query, block + range.begin + v * lanes<Real>);
      store(s, row + v * lanes<Real>);
      high = larger(s, high);
    }
    const Real now = maximum<Real>(high);
    if (total[r] > 0 && now > highest[r]) {
      const Real factor = exp2_of_negative<Real>(broadcast(highest[r] - now))[0];
      total[r] *= factor;
      for (int64_t c = 0; c < work.width; c += lanes<Real>)
        store(factor * load(mixed + r * work.width + c), mixed + r * work.width + c);
    }
    highest[r] = now;
    Vector<Real> sums{};
    for (int64_t v = 0; v < range.vectors; ++v) {
      const Vector<Real> p = exp2_of_negative<Real>(load(row + v * lanes<Real>) - now);
      store(p, row + v * lanes<Real>);
      sums += p;
    }
    total[r] += sum<Real>(sums);
    pair_within_row<Factors>(probabilities + r * attention_key_block, range.begin, range.vectors);
  }

  template <class Element>
  void store_group(int64_t query, Element* out, Real* log_sum) const {
    for (int64_t r = 0; r < tile_rows && query + r < work.shape.time; ++r) {
      const Real factor = 1 / total[r];
      Element* to = out + out_at(work, head) + (query + r) * out_stride(work);
      for (int64_t c = 0; c < work.shape.head; c += lanes<Real>)
        store(factor * load(mixed + r * work.width + c), to + c, work.shape.head - c);
      if (log_sum)
        log_sum[(head.batch * work.shape.heads + head.head) * work.shape.time + query + r] =
            highest[r] + static_cast<Real>(__builtin_log2(total[r]));
    }
  }
};

}  // namespace

template <class Element>
void attention_forward(const AttentionWork<Sums<Element>>& work, const AttentionHead& head, const Element* qkv,
                       Element* out, Sums<Element>* log_sum, Sums<Element>* workspace) {
  Forward<typename FactorsOf<Element>::type> forward(work, head, workspace);
  forward.load_all(qkv);
  for (int64_t query = 0; query < work.shape.time; query += tile_rows) {
    forward.group(query);
    forward.store_group(query, out, log_sum);
  }
}

#define RECITE_INSTANTIATE(Element)                                                                                    \
  template void attention_forward(const AttentionWork<Sums<Element>>&, const AttentionHead&, const Element*, Element*, \
                                  Sums<Element>*, Sums<Element>*);
RECITE_INSTANTIATE(float)
RECITE_INSTANTIATE(double)
RECITE_INSTANTIATE(bf16)

}  // namespace recite::kernels::RECITE_ISA
