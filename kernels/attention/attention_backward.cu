// The backward on tensor cores, two kernels that share no sums, so that none is in an order left to chance: the first
// has a block for a tile of queries, whose gradients (and delta) it finds going through the keys that they see; the
// second one for a tile of keys, for the gradients of keys and values, going through the queries that see them. Each
// computes the weights again: 7 products in all. Each warp has 16 of the block's own rows.
#include "kernels/attention/attention_delta.cuh"
#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_work.cuh"

namespace recite::kernels {

namespace {

// Both kernels: `own` rows of a block, two tiles of them; for each stage, a tile on its way or used, two tiles of
// `columns` rows, their angles, and in the second their log_sum and delta.
template <int D>
struct Backward {
  static constexpr int own = tile_threads / 2, own_tile = own * tile_stride<D>;
  static constexpr int columns = 32, column_tile = columns * tile_stride<D>;
  static constexpr int stages = 3;
  static constexpr int query_blocks = D <= 64 ? 4 : 3;  // on a multiprocessor, for their registers
  static constexpr int key_blocks = D <= 64 ? 4 : D <= 80 ? 3 : 2;

  static size_t shared_bytes(int rotary) {
    return 2 * (own_tile + stages * column_tile) * sizeof(__half) + stages * columns * (rotary + 2) * sizeof(float);
  }
};

template <class Element>
struct BackwardArrays {
  const Element *qkv, *out, *dout;
  const float* log_sum;
  Element* dqkv;
  float* delta;
};

template <class Element, int D>
__global__ void __launch_bounds__(tile_threads, Backward<D>::query_blocks)
    query_gradient_kernel(const AttentionProblem problem, const BackwardArrays<Element> arrays) {
  using W = Backward<D>;
  constexpr int N = W::columns / 8;
  extern __shared__ __align__(16) unsigned char shared[];
  Element *const queries = reinterpret_cast<Element*>(shared), *const dout = queries + W::own_tile;
  Element* const tiles = dout + W::own_tile;  // keys, values
  float* const angles = reinterpret_cast<float*>(tiles + W::stages * 2 * W::column_tile);

  const int ranks = (problem.time + W::own - 1) / W::own;
  const WorkItem work(problem, ranks);
  const int own = (ranks - 1 - work.rank) * W::own;
  const int64_t out_stride = static_cast<int64_t>(problem.heads) * D, stride = 3 * out_stride;
  load_tile<W::own, D>(queries, arrays.qkv + work.at<D>(problem, own, 0), stride, problem.time - own);
  load_tile<W::own, D>(dout, arrays.dout + work.at<D, 1>(problem, own, 0), out_stride, problem.time - own);
  end_group_of_copies();

  const Band band = Band::of_query(Band::window(problem, work.head));
  const int first = band.first_tile<W::columns>(own), last = band.last_tile<W::columns>(own, W::own, problem.time);
  const auto stage_of = [&](int t) { return tiles + t % W::stages * 2 * W::column_tile; };
  const auto angles_of = [&](int t) { return angles + t % W::stages * W::columns * problem.rotary; };
  const auto load_keys = [&](int t) {
    if (t >= first) {
      const int begin = t * W::columns, count = problem.time - begin;
      const Element* const from = arrays.qkv + work.at<D>(problem, begin, 1);
      load_tile<W::columns, D>(stage_of(t), from, stride, count);
      load_tile<W::columns, D>(stage_of(t) + W::column_tile, from + D, stride, count);
      load_angles<W::columns>(problem, angles_of(t), begin);
    }
    end_group_of_copies();
  };
#pragma unroll
  for (int ahead = 1; ahead < W::stages; ++ahead) load_keys(last - ahead);

  const int lane = threadIdx.x % 32, warp_row = first_row_of_warp<W::own>(), row = own + warp_row;
  const SumsOfProducts<Element, D> products(arrays.out + work.at<D, 1>(problem, row, 0), out_stride,
                                            problem.time - row);
  float log_sum[2] = {}, delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half)
    if (const int t = row + half * 8 + lane / 4; t < problem.time)
      log_sum[half] = arrays.log_sum[work.row_of_sums(problem) + t];
  const float slope = problem.slope ? problem.slope[work.head] / problem.scale : 0;
  const float scale = problem.scale * log2_of_e;
  wait_for_copies<W::stages - 1>();
  __syncwarp();
  prepare_own_tile<W::own, D>(problem, queries, own);
  const auto dout_at = [rows = dout + warp_row * tile_stride<D>](int r, int column) {
    return rows + r * tile_stride<D> + column;
  };
  products.with(dout_at, delta);
#pragma unroll
  for (int half = 0; half < 2; ++half)
    if (const int t = row + half * 8 + lane / 4; lane % 4 == 0 && t < problem.time)
      arrays.delta[work.row_of_sums(problem) + t] = delta[half];

  const int left = warp_row * tile_stride<D> + left_offset<D>();
  Fragment<D / 8> gradient = {};
  const auto add_tile = [&](auto part, const Element* keys, Groups groups, int column) {
    constexpr bool Part = decltype(part)::value;
    Fragment<N> scores, dweights;
    product_of_rows<Part, D, Element>(scores, shared_address(queries + left), shared_address(keys + right_offset<D>()),
                                      groups);
    band.apply<Part>(scores, slope, row, column);
    product_of_rows<Part, D, Element>(dweights, shared_address(dout + left),
                                      shared_address(keys + W::column_tile + right_offset<D>()), groups);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        scores[n][e] = power_of_2(scores[n][e] * scale - log_sum[e / 2]) * (dweights[n][e] - delta[e / 2]);
    add_weighted_rows<Part, D, Element>(gradient, scores, shared_address(keys + left_offset<D>()), groups);
  };
  for (int t = last - 1; t >= first; --t) {
    Element* const keys = stage_of(t);
    wait_for_copies<W::stages - 2>();
    rotate_tile<W::columns, D>(problem, keys, {angles_of(t), angles_of(t) + W::columns * (problem.rotary / 2)},
                               W::columns);
    __syncthreads();
    load_keys(t - W::stages + 1);
    const Groups groups = band.groups<W::columns>(row, 16, t * W::columns);
    if (groups.first >= groups.last || row >= problem.time) continue;
    if (band.all<W::columns>(row, 16, t * W::columns))
      add_tile(std::false_type(), keys, groups, t * W::columns);
    else
      add_tile(std::true_type(), keys, groups, t * W::columns);
  }

  store_fragment<D>(gradient, queries + warp_row * tile_stride<D>,
                    [&](int, int column) { return column < problem.twice_from ? problem.scale : 2 * problem.scale; });
  rotate_tile<W::own, D>(problem, queries, Angles::at(problem, own), problem.time - own, -1);
  __syncwarp();
  store_tile<W::own, D>(queries, arrays.dqkv + work.at<D>(problem, own, 0), stride, problem.time - own);
}

template <class Element, int D>
__global__ void __launch_bounds__(tile_threads, Backward<D>::key_blocks)
    key_gradient_kernel(const AttentionProblem problem, const BackwardArrays<Element> arrays) {
  using W = Backward<D>;
  constexpr int N = W::columns / 8;
  extern __shared__ __align__(16) unsigned char shared[];
  Element *const keys = reinterpret_cast<Element*>(shared), *const values = keys + W::own_tile;
  Element* const tiles = values + W::own_tile;                                           // queries, dout
  float* const sums = reinterpret_cast<float*>(tiles + W::stages * 2 * W::column_tile);  // log_sum, delta
  float* const angles = sums + W::stages * 2 * W::columns;

  const WorkItem work(problem, (problem.time + W::own - 1) / W::own);
  const int own = work.rank * W::own;
  const int64_t out_stride = static_cast<int64_t>(problem.heads) * D, stride = 3 * out_stride;
  load_tile<W::own, D>(keys, arrays.qkv + work.at<D>(problem, own, 1), stride, problem.time - own);
  load_tile<W::own, D>(values, arrays.qkv + work.at<D>(problem, own, 2), stride, problem.time - own);
  end_group_of_copies();

  const Band band = Band::of_key(Band::window(problem, work.head));
  const int first = band.first_tile<W::columns>(own), last = band.last_tile<W::columns>(own, W::own, problem.time);
  const auto stage_of = [&](int t) { return tiles + t % W::stages * 2 * W::column_tile; };
  const auto sums_of = [&](int t) { return sums + t % W::stages * 2 * W::columns; };
  const auto angles_of = [&](int t) { return angles + t % W::stages * W::columns * problem.rotary; };
  const auto load_queries = [&](int t) {
    if (t < last) {
      const int begin = t * W::columns, count = problem.time - begin;
      load_tile<W::columns, D>(stage_of(t), arrays.qkv + work.at<D>(problem, begin, 0), stride, count);
      load_tile<W::columns, D>(stage_of(t) + W::column_tile, arrays.dout + work.at<D, 1>(problem, begin, 0), out_stride,
                               count);
      if (const int i = threadIdx.x % W::columns; threadIdx.x < 2 * W::columns)
        copy_async_4(sums_of(t) + threadIdx.x,
                     (threadIdx.x < W::columns ? arrays.log_sum : arrays.delta) + work.row_of_sums(problem) + begin +
                         (i < count ? i : 0),
                     i < count ? 4 : 0);
      load_angles<W::columns>(problem, angles_of(t), begin);
    }
    end_group_of_copies();
  };
#pragma unroll
  for (int ahead = 0; ahead < W::stages - 1; ++ahead) load_queries(first + ahead);
  const float slope = problem.slope ? -problem.slope[work.head] / problem.scale : 0;
  const float scale = problem.scale * log2_of_e;
  wait_for_copies<W::stages - 1>();
  prepare_own_tile<W::own, D>(problem, keys, own);

  const int lane = threadIdx.x % 32, warp_row = first_row_of_warp<W::own>(), row = own + warp_row;
  const int left = warp_row * tile_stride<D> + left_offset<D>();
  Fragment<D / 8> dkeys = {}, dvalues = {};
  const auto add_tile = [&](auto part, const Element* queries, const float* log_sum, Groups groups, int column) {
    constexpr bool Part = decltype(part)::value;
    const Element* const dout = queries + W::column_tile;
    const float *const log_sums = log_sum + lane % 4 * 2, *const deltas = log_sums + W::columns;
    Fragment<N> weights, dscores;
    product_of_rows<Part, D, Element>(weights, shared_address(keys + left), shared_address(queries + right_offset<D>()),
                                      groups);
    band.apply<Part>(weights, slope, row, column);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float2 base = *reinterpret_cast<const float2*>(log_sums + 8 * n);
#pragma unroll
      for (int e = 0; e < 4; ++e) weights[n][e] = power_of_2(weights[n][e] * scale - (e % 2 ? base.y : base.x));
    }
    add_weighted_rows<Part, D, Element>(dvalues, weights, shared_address(dout + left_offset<D>()), groups);
    product_of_rows<Part, D, Element>(dscores, shared_address(values + left), shared_address(dout + right_offset<D>()),
                                      groups);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float2 delta = *reinterpret_cast<const float2*>(deltas + 8 * n);
#pragma unroll
      for (int e = 0; e < 4; ++e) dscores[n][e] = weights[n][e] * (dscores[n][e] - (e % 2 ? delta.y : delta.x));
    }
    add_weighted_rows<Part, D, Element>(dkeys, dscores, shared_address(queries + left_offset<D>()), groups);
  };
  for (int t = first; t < last; ++t) {
    Element* const queries = stage_of(t);
    wait_for_copies<W::stages - 2>();
    rotate_tile<W::columns, D>(problem, queries, {angles_of(t), angles_of(t) + W::columns * (problem.rotary / 2)},
                               W::columns);
    __syncthreads();
    load_queries(t + W::stages - 1);
    const Groups groups = band.groups<W::columns>(row, 16, t * W::columns);
    if (groups.first >= groups.last || row >= problem.time) continue;
    const float* const log_sum = sums_of(t);
    if (band.all<W::columns>(row, 16, t * W::columns))
      add_tile(std::false_type(), queries, log_sum, groups, t * W::columns);
    else
      add_tile(std::true_type(), queries, log_sum, groups, t * W::columns);
  }

  store_fragment<D>(dkeys, keys + warp_row * tile_stride<D>,
                    [&](int, int column) { return column < problem.twice_from ? problem.scale : 2 * problem.scale; });
  store_fragment<D>(dvalues, values + warp_row * tile_stride<D>, [](int, int) { return 1.0f; });
  rotate_tile<W::own, D>(problem, keys, Angles::at(problem, own), problem.time - own, -1);
  __syncwarp();
  store_tile<W::own, D>(keys, arrays.dqkv + work.at<D>(problem, own, 1), stride, problem.time - own);
  store_tile<W::own, D>(values, arrays.dqkv + work.at<D>(problem, own, 2), stride, problem.time - own);
}

}  // namespace

template <class Element, int D>
void launch_attention_backward(const AttentionProblem& problem, const Element* qkv, const Element* out,
                               const float* log_sum, const Element* dout, Element* dqkv, float* delta,
                               cudaStream_t stream) {
  using W = Backward<D>;
  const BackwardArrays<Element> arrays{qkv, out, dout, log_sum, dqkv, delta};
  const int64_t blocks = static_cast<int64_t>(problem.batch) * problem.heads * ((problem.time - 1) / W::own + 1);
  const size_t bytes = W::shared_bytes(problem.rotary);
  launch_attention(query_gradient_kernel<Element, D>, blocks, tile_threads, bytes, stream, problem, arrays);
  launch_attention(key_gradient_kernel<Element, D>, blocks, tile_threads, bytes, stream, problem, arrays);
}

#define RECITE_INSTANTIATE(Element, D)                                                                         \
  template void launch_attention_backward<Element, D>(const AttentionProblem&, const Element*, const Element*, \
                                                      const float*, const Element*, Element*, float*, cudaStream_t);
RECITE_FOR_TENSOR_HEADS(RECITE_INSTANTIATE)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
