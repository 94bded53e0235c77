#include "kernels/attention/scores_simd.h"

namespace recite::kernels::RECITE_ISA {

namespace {

template <class Real>
struct Backward {
  const AttentionWork<Real>& work;
  const AttentionHead& head;
  const Scores<Real> scores{work, head};
  Real *query_columns, *key_columns, *value_columns;
  Real *queries, *keys, *dout, *dqueries, *dkeys, *dvalues;  // rows
  Real* dtotal;                                              // (rows): dout . out of each query
  Real *p, *dscore;                                          // of a block: (attention_query_block, attention_key_block)

  Backward(const AttentionWork<Real>& of, const AttentionHead& which, Real* workspace) : work(of), head(which) {
    Carve<Real> carve{workspace};
    for (Real** part : {&query_columns, &key_columns, &value_columns}) *part = carve(work.width * work.leading);
    for (Real** part : {&queries, &keys, &dout, &dqueries, &dkeys, &dvalues}) *part = carve(work.rows * work.width);
    dtotal = carve(work.rows);
    p = carve(attention_query_block * attention_key_block);
    dscore = carve(attention_query_block * attention_key_block);
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
    for (Real* sums : {dqueries, dkeys, dvalues})
      for (int64_t i = 0; i < work.rows * work.width; i += lanes<Real>) store(Vector<Real>{}, sums + i);
  }

  // dout . out of the queries t .. t+lanes-1.
  template <class Element>
  RECITE_INLINE void total(const Element* out, int64_t t) {
    for (int64_t row = t; row < t + lanes<Real> && row < work.shape.time; ++row) {
      Vector<Real> product{};
      for (int64_t c = 0; c < work.shape.head; c += lanes<Real>)
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
    scores.template products<false>(dout + query * work.width, value_columns + block, range, gradients);
    for (int r = 0; r < tile_rows; ++r) {
      const Real log_total = query + r < work.shape.time ? log_sum[query + r] : Real(0);
      for (int64_t v = 0; v < range.vectors; ++v) {
        const int64_t at = range.begin + v * lanes<Real>;
        Real *to_p = probabilities + r * attention_key_block + at, *to_d = gradients + r * attention_key_block + at;
        const Vector<Real> probability =
            exp2_of_negative<Real>(scores.score(load(to_p), query + r, block + at) - log_total);
        store(probability, to_p);
        store(probability * (load(to_d) - dtotal[query + r]), to_d);
      }
    }
    add_product<false>(gradients + range.first, attention_key_block, keys + (block + range.first) * work.width,
                       work.width, range.last - range.first, work.width / lanes<Real>, dqueries + query * work.width,
                       work.width);
  }

  // What the queries [first, end) that see the group of keys from `key` on, the `column`-th of its block, give it.
  RECITE_INLINE void keys_back(int64_t key, int64_t column, int64_t first, int64_t end) {
    const int64_t back = (head.window + tile_rows - 1) / tile_rows * tile_rows;
    const int64_t begin = key > first ? key : first;
    const int64_t after = key + back + tile_rows < end ? key + back + tile_rows : end;
    if (after <= begin) return;
    const int64_t at = (begin - first) * attention_key_block + column, vectors = work.width / lanes<Real>;
    add_product<true>(p + at, attention_key_block, dout + begin * work.width, work.width, after - begin, vectors,
                      dvalues + key * work.width, work.width);
    add_product<true>(dscore + at, attention_key_block, queries + begin * work.width, work.width, after - begin,
                      vectors, dkeys + key * work.width, work.width);
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
  Backward<Sums<Element>> backward(work, head, workspace);
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
