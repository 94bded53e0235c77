#include "kernels/attention/scores_simd.h"

namespace recite::kernels::RECITE_ISA {

namespace {

template <class Factors>
struct Backward {
  using Real = typename Factors::Real;
  static constexpr int word = Factors::per_word;
  const AttentionWork<Real>& work;
  const AttentionHead& head;
  const Scores<Factors> scores{work, head};
  Real *query_columns, *key_columns, *value_columns;  // as factors, like the following
  Real *queries, *keys, *dout, *dout_rows;            // rows; dout_rows with a row's numbers side by side in a word
  Real *dqueries, *dkeys, *dvalues;                   // rows
  Real* dtotal;                                       // (rows): dout . out of each query
  Real *p, *dscore;   // of a block, as factors: (attention_query_block, attention_key_block)
  Real* dscore_rows;  // of a group, with a row's numbers side by side in a word: (tile_rows, attention_key_block)

  Backward(const AttentionWork<Real>& of, const AttentionHead& which, Real* workspace) : work(of), head(which) {
    Carve<Real> carve{workspace};
    for (Real** part : {&query_columns, &key_columns, &value_columns}) *part = carve(work.width * work.leading);
    for (Real** part : {&queries, &keys, &dout, &dqueries, &dkeys, &dvalues}) *part = carve(work.rows * work.width);
    dout_rows = word == 1 ? dout : carve(work.rows * work.width);
    dtotal = carve(work.rows);
    p = carve(attention_query_block * attention_key_block);
    dscore = carve(attention_query_block * attention_key_block);
    dscore_rows = word == 1 ? nullptr : carve(tile_rows * attention_key_block);
  }

  template <class Element>
  void load_all(const Element* qkv, const Element* out, const Element* from_dout) {
    load_head<Real>(work, head, qkv, query_columns, key_columns, value_columns, nullptr);
    prepare_scores(work, query_columns, key_columns);
    columns_to_rows(work, query_columns, queries);
    columns_to_rows(work, key_columns, keys);
    for (int64_t t = 0; t < work.rows; t += lanes<Real>) {
      fetch(work, out + out_at(work, head), out_stride(work), work.shape.head, t + lanes<Real>);
      fetch(work, from_dout + out_at(work, head), out_stride(work), work.shape.head, t + lanes<Real>);
      load_rows(work, from_dout + out_at(work, head), out_stride(work), t, dout);
      total(out, t);
    }
    pair_all();
    for (Real* sums : {dqueries, dkeys, dvalues})
      for (int64_t i = 0; i < work.rows * work.width; i += lanes<Real>) store(Vector<Real>{}, sums + i);
  }

  RECITE_INLINE void pair_all() {
    if constexpr (word == 2) {
      for (Real* columns : {query_columns, key_columns, value_columns})
        pair_rows<Factors>(columns, work.shape.head, work.rows, work.leading);
      for (int64_t t = 0; t < work.rows; ++t) {
        for (int64_t c = 0; c < work.width; c += lanes<Real>)
          store(load(dout + t * work.width + c), dout_rows + t * work.width + c);
        pair_within_row<Factors>(dout_rows + t * work.width, 0, work.width / lanes<Real>);
      }
      for (Real* rows : {queries, keys, dout}) pair_rows<Factors>(rows, work.rows, work.width, work.width);
    }
  }

  // dout . out of the queries t .. t+lanes-1; 0 past the end.
  template <class Element>
  RECITE_INLINE void total(const Element* out, int64_t t) {
    for (int64_t row = t; row < t + lanes<Real>; ++row) {
      Vector<Real> product{};
      for (int64_t c = 0; row < work.shape.time && c < work.shape.head; c += lanes<Real>)
        product += load(dout + row * work.width + c) *
                   load(out + out_at(work, head) + row * out_stride(work) + c, work.shape.head - c);
      dtotal[row] = sum<Real>(product);
    }
  }

  // Queries from `first` on against the block of keys from `block` on.
  void blocks(int64_t first, int64_t block, const Real* log_sum) {
    const int64_t left = work.shape.time - first;
    const int64_t end = first + (left < attention_query_block ? left : attention_query_block);
    int64_t key_begin = attention_key_block, key_end = 0;
    for (int64_t query = first; query < end; query += tile_rows) {
      const KeyRange range = KeyRange::of<Real>(query, head.window, block);
      if (range.last <= range.first) continue;
      key_begin = range.first < key_begin ? range.first : key_begin;
      key_end = range.last > key_end ? range.last : key_end;
      group(query, query - first, block, range, log_sum);
    }
    for (int64_t key = key_begin; key < key_end; key += tile_rows) keys_back(block + key, key, first, end);
  }

  // A group of queries, the `row`-th of its block: probabilities, gradients of scores and of queries.
  RECITE_INLINE void group(int64_t query, int64_t row, int64_t block, const KeyRange& range, const Real* log_sum) {
    Real *probabilities = p + row * attention_key_block, *gradients = dscore + row * attention_key_block;
    scores.template products<true>(query_columns + query, key_columns + block, range, probabilities);
    scores.template products<false>(dout_rows + query * work.width, value_columns + block, range, gradients);
    for (int r = 0; r < tile_rows; ++r) softmax_back(query + r, r, block, range, log_sum, probabilities, gradients);
    Real* rows = gradients;
    if constexpr (word == 2) {
      rows = dscore_rows;
      for (int r = 0; r < tile_rows; r += 2) pair_scores(row + r, r, range, probabilities, gradients);
    }
    add_product<Factors, false>(
        rows + range.first / word, attention_key_block, keys + (block + range.first) / word * work.width, work.width,
        (range.last - range.first) / word, work.width / lanes<Real>, dqueries + query * work.width, work.width);
  }

  // Row r of a group: probabilities out of products, gradients of scores out of those of probabilities.
  RECITE_INLINE void softmax_back(int64_t query, int r, int64_t block, const KeyRange& range, const Real* log_sum,
                                  Real* probabilities, Real* gradients) const {
    const Real log_total = query < work.shape.time ? log_sum[query] : Real(0);
    for (int64_t v = 0; v < range.vectors; ++v) {
      const int64_t at = range.begin + v * lanes<Real>;
      Real *to_p = probabilities + r * attention_key_block + at, *to_d = gradients + r * attention_key_block + at;
      const Vector<Real> probability = exp2_of_negative<Real>(scores.score(load(to_p), query, block + at) - log_total);
      store(probability, to_p);
      store(probability * (load(to_d) - dtotal[query]), to_d);
    }
  }

  // Rows r and r + 1 of a group become words: of two queries in p and dscore, whose row `row` / 2 they are, and of two
  // keys in dscore_rows.
  RECITE_INLINE void pair_scores(int64_t row, int r, const KeyRange& range, const Real* probabilities,
                                 const Real* gradients) const {
    if constexpr (word == 2) {
      for (int64_t v = 0; v < range.vectors; ++v) {
        const int64_t at = range.begin + v * lanes<Real>, low = r * attention_key_block + at,
                      high = low + attention_key_block, to = row / 2 * attention_key_block + at;
        const Vector<Real> dlow = load(gradients + low), dhigh = load(gradients + high);
        store(Factors::pair(load(probabilities + low), load(probabilities + high)), p + to);
        store(Factors::pair(dlow, dhigh), dscore + to);
        store(dlow, reinterpret_cast<bf16*>(dscore_rows + r * attention_key_block) + at);
        store(dhigh, reinterpret_cast<bf16*>(dscore_rows + (r + 1) * attention_key_block) + at);
      }
    }
  }

  // What the queries [first, end) that see the group of keys from `key` on, the `column`-th of its block, give it.
  RECITE_INLINE void keys_back(int64_t key, int64_t column, int64_t first, int64_t end) {
    const int64_t back = (head.window + tile_rows - 1) / tile_rows * tile_rows;
    const int64_t begin = key > first ? key : first;
    const int64_t after = key + back + tile_rows < end ? key + back + tile_rows : end;
    if (after <= begin) return;
    const int64_t at = (begin - first) / word * attention_key_block + column, from = begin / word * work.width;
    const int64_t depth = (after - begin + word - 1) / word, vectors = work.width / lanes<Real>;
    add_product<Factors, true>(p + at, attention_key_block, dout + from, work.width, depth, vectors,
                               dvalues + key * work.width, work.width);
    add_product<Factors, true>(dscore + at, attention_key_block, queries + from, work.width, depth, vectors,
                               dkeys + key * work.width, work.width);
  }

  template <class Element>
  void store_all(Element* dqkv) {
    // Queries were multiplied by `scale`, for powers of 2; of keys the products with those queries were summed.
    for (int64_t t = 0; t < work.rows; ++t)
      for (int64_t c = 0; c < work.width; c += lanes<Real>) {
        Real *dquery = dqueries + t * work.width + c, *dkey = dkeys + t * work.width + c;
        store(Real(ln_2) * load(work.scale + c) * load(dquery), dquery);
        store(Real(ln_2) * load(dkey), dkey);
      }
    int part = 0;
    for (Real* gradient : {dqueries, dkeys, dvalues}) {
      if (work.rotary > 0 && part < 2) rotate_back(gradient);
      store_rows(work, gradient, dqkv + part_at(work, head, part++), part_stride(work));
    }
  }

  void rotate_back(Real* gradient) {
    for (int64_t t = 0; t < work.rows; t += lanes<Real>)
      load_columns(work, gradient, work.width, work.rows, t, query_columns);
    rotate(work, Real(-1), query_columns);
    columns_to_rows(work, query_columns, gradient);
  }
};

}  // namespace

template <class Element>
void attention_backward(const AttentionWork<Sums<Element>>& work, const AttentionHead& head, const Element* qkv,
                        const Element* out, const Sums<Element>* log_sum, const Element* dout, Element* dqkv,
                        Sums<Element>* workspace) {
  Backward<typename FactorsOf<Element>::type> backward(work, head, workspace);
  backward.load_all(qkv, out, dout);
  const Sums<Element>* head_log_sum = log_sum + (head.batch * work.shape.heads + head.head) * work.shape.time;
  for (int64_t block = 0; block < work.shape.time; block += attention_key_block)
    for (int64_t query = block; query < work.shape.time; query += attention_query_block)
      backward.blocks(query, block, head_log_sum);
  backward.store_all(dqkv);
}

#define RECITE_INSTANTIATE(Element)                                                                           \
  template void attention_backward(const AttentionWork<Sums<Element>>&, const AttentionHead&, const Element*, \
                                   const Element*, const Sums<Element>*, const Element*, Element*, Sums<Element>*);
RECITE_INSTANTIATE(float)
RECITE_INSTANTIATE(double)
RECITE_INSTANTIATE(bf16)

}  // namespace recite::kernels::RECITE_ISA
