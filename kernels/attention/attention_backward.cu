// The backward on tensor cores, two kernels that share no sums, so that none is in an order left to chance: the first
// has a block for a tile of queries, whose gradients (and delta) it finds going through the keys that they see; the
// second one for a tile of keys, for the gradients of keys and values, going through the queries that see them. Each
// computes the weights again: 7 products in all. Each warp has 16 of the block's own rows.
#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_work.cuh"

namespace recite::kernels {

namespace {

template <int D>
struct Backward {
  static constexpr int own = 16 * tile_threads / 32;
  static constexpr int own_tile = own * tile_stride<D>;
  static constexpr int keys = 64, key_tile = keys * tile_stride<D>;  // that the first kernel goes through
  static constexpr int queries = D <= 64 ? 64 : 32, query_tile = queries * tile_stride<D>;  // the second
  static constexpr int blocks = D <= 64 ? 3 : 2;  // on a multiprocessor, for their registers
  static constexpr int stages = D <= 80 ? 3 : 2;  // tiles that are used or on their way
  static constexpr size_t query_pass_bytes = 2 * (own_tile + stages * key_tile) * sizeof(__half);
  static constexpr size_t key_pass_bytes =
      2 * ((own_tile + stages * query_tile) * sizeof(__half) + stages * queries * sizeof(float));
};

template <class Element>
struct BackwardArrays {
  const Element *qkv, *out, *dout;
  const float* log_sum;
  Element* dqkv;
  float* delta;
};

// The sum over d of out and dout, for the two rows of a lane; `dout` and `out` point to the warp's rows in shared and in
// global memory.
template <int D, class Element>
__device__ void sum_products(const Element* out, int64_t out_stride, const Element* dout, int rows, float (&delta)[2]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = half * 8 + lane / 4;
    delta[half] = 0;
    if (row < rows) {
#pragma unroll
      for (int c = lane % 4 * 8; c < D; c += 32) {
        const uint4 a = *reinterpret_cast<const uint4*>(out + row * out_stride + c);
        const uint4 b = *reinterpret_cast<const uint4*>(dout + row * tile_stride<D> + c);
#pragma unroll
        for (int k = 0; k < 8; ++k)
          delta[half] += static_cast<float>(reinterpret_cast<const Element*>(&a)[k]) *
                         static_cast<float>(reinterpret_cast<const Element*>(&b)[k]);
      }
    }
    delta[half] += __shfl_xor_sync(~0u, delta[half], 1);
    delta[half] += __shfl_xor_sync(~0u, delta[half], 2);
  }
}

template <class Element, int D>
__global__ void __launch_bounds__(tile_threads, Backward<D>::blocks)
    query_gradient_kernel(const AttentionProblem problem, const BackwardArrays<Element> arrays) {
  using W = Backward<D>;
  constexpr int N = W::keys / 8;
  extern __shared__ __align__(16) unsigned char shared[];
  Element *const queries = reinterpret_cast<Element*>(shared), *const dout = queries + W::own_tile;
  Element* const tiles = dout + W::own_tile;  // keys, values; again for each stage

  const int ranks = (problem.time + W::own - 1) / W::own;
  const WorkItem work(problem, ranks);
  const int own = (ranks - 1 - work.rank) * W::own;
  const Band band = Band::of_query(Band::window(problem, work.head));
  const int first = band.first_tile<W::keys>(own), last = band.last_tile<W::keys>(own, W::own, problem.time);
  const int64_t out_stride = static_cast<int64_t>(problem.heads) * D, stride = 3 * out_stride;

  const auto stage_of = [&](int t) { return tiles + t % W::stages * 2 * W::key_tile; };
  const auto load_keys = [&](int t) {
    if (t >= first) {
      const Element* const from = arrays.qkv + work.at<D>(problem, t * W::keys, 1);
      load_tile<W::keys, D>(stage_of(t), from, stride, problem.time - t * W::keys);
      load_tile<W::keys, D>(stage_of(t) + W::key_tile, from + D, stride, problem.time - t * W::keys);
    }
    end_group_of_copies();
  };
  load_tile<W::own, D>(queries, arrays.qkv + work.at<D>(problem, own, 0), stride, problem.time - own);
  load_tile<W::own, D>(dout, arrays.dout + work.at<D, 1>(problem, own, 0), out_stride, problem.time - own);
  end_group_of_copies();
#pragma unroll
  for (int ahead = 1; ahead < W::stages; ++ahead) load_keys(last - ahead);
  wait_for_copies<W::stages - 1>();
  __syncwarp();
  prepare_own_tile<W::own, D>(problem, queries, own);

  const int lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16, row = own + warp_row;
  float log_sum[2] = {}, delta[2];
  sum_products<D>(arrays.out + work.at<D, 1>(problem, row, 0), out_stride, dout + warp_row * tile_stride<D>,
                  problem.time - row, delta);
#pragma unroll
  for (int half = 0; half < 2; ++half)
    if (const int t = row + half * 8 + lane / 4; t < problem.time) {
      const int64_t at = work.row_of_sums(problem) + t;
      log_sum[half] = arrays.log_sum[at];
      if (lane % 4 == 0) arrays.delta[at] = delta[half];
    }

  const int left = warp_row * tile_stride<D> + left_offset<D>();
  const float scale = problem.scale * log2_of_e;
  const float slope = problem.slope ? problem.slope[work.head] / problem.scale : 0;
  Fragment<1, D / 8> gradient = {};
  const auto add_tile = [&](auto part, const Element* keys, Groups groups, int column) {
    constexpr bool Part = decltype(part)::value;
    Fragment<1, N> scores, dweights;
    product_of_rows<Part, D, Element>(scores, shared_address(queries + left),
                                      shared_address(keys + right_offset<D>()), groups);
    band.apply<Part>(scores, slope, row, column);
    product_of_rows<Part, D, Element>(dweights, shared_address(dout + left),
                                      shared_address(keys + W::key_tile + right_offset<D>()), groups);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        scores[0][n][e] =
            power_of_2(scores[0][n][e] * scale - log_sum[e / 2]) * (dweights[0][n][e] - delta[e / 2]);
    add_weighted_rows<Part, D, Element>(gradient, scores, shared_address(keys + left_offset<D>()), groups);
  };
  for (int t = last - 1; t >= first; --t) {
    Element* const keys = stage_of(t);
    wait_for_copies<W::stages - 2>();
    rotate_tile<W::keys, D>(problem, keys, t * W::keys);
    __syncthreads();
    load_keys(t - W::stages + 1);
    const Groups groups = band.groups<W::keys>(row, 16, t * W::keys);
    if (groups.first >= groups.last || row >= problem.time) continue;
    if (band.all<W::keys>(row, 16, t * W::keys))
      add_tile(std::false_type(), keys, groups, t * W::keys);
    else
      add_tile(std::true_type(), keys, groups, t * W::keys);
  }

  store_fragment<D>(gradient, queries + warp_row * tile_stride<D>, [&](int, int column) {
    return column < problem.twice_from ? problem.scale : 2 * problem.scale;
  });
  rotate_tile<W::own, D>(problem, queries, own, -1);
  __syncwarp();
  store_tile<W::own, D>(queries, arrays.dqkv + work.at<D>(problem, own, 0), stride, problem.time - own);
}

template <class Element, int D>
__global__ void __launch_bounds__(tile_threads, Backward<D>::blocks)
    key_gradient_kernel(const AttentionProblem problem, const BackwardArrays<Element> arrays) {
  using W = Backward<D>;
  constexpr int N = W::queries / 8;
  extern __shared__ __align__(16) unsigned char shared[];
  Element *const keys = reinterpret_cast<Element*>(shared), *const values = keys + W::own_tile;
  Element* const tiles = values + W::own_tile;  // queries, dout; again for each stage
  float* const sums = reinterpret_cast<float*>(tiles + W::stages * 2 * W::query_tile);  // log_sum, delta; likewise

  const WorkItem work(problem, (problem.time + W::own - 1) / W::own);
  const int own = work.rank * W::own;
  const Band band = Band::of_key(Band::window(problem, work.head));
  const int first = band.first_tile<W::queries>(own), last = band.last_tile<W::queries>(own, W::own, problem.time);
  const int64_t out_stride = static_cast<int64_t>(problem.heads) * D, stride = 3 * out_stride;

  const auto stage_of = [&](int t) { return tiles + t % W::stages * 2 * W::query_tile; };
  const auto sums_of = [&](int t) { return sums + t % W::stages * 2 * W::queries; };
  const auto load_queries = [&](int t) {
    if (t < last) {
      const int begin = t * W::queries, count = problem.time - begin;
      load_tile<W::queries, D>(stage_of(t), arrays.qkv + work.at<D>(problem, begin, 0), stride, count);
      load_tile<W::queries, D>(stage_of(t) + W::query_tile, arrays.dout + work.at<D, 1>(problem, begin, 0), out_stride,
                               count);
      if (const int i = threadIdx.x % W::queries; threadIdx.x < 2 * W::queries)
        copy_async_4(shared_address(sums_of(t) + threadIdx.x),
                     (threadIdx.x < W::queries ? arrays.log_sum : arrays.delta) + work.row_of_sums(problem) + begin +
                         (i < count ? i : 0),
                     i < count);
    }
    end_group_of_copies();
  };
  load_tile<W::own, D>(keys, arrays.qkv + work.at<D>(problem, own, 1), stride, problem.time - own);
  load_tile<W::own, D>(values, arrays.qkv + work.at<D>(problem, own, 2), stride, problem.time - own);
  end_group_of_copies();
#pragma unroll
  for (int ahead = 0; ahead < W::stages - 1; ++ahead) load_queries(first + ahead);
  wait_for_copies<W::stages - 1>();
  prepare_own_tile<W::own, D>(problem, keys, own);

  const int lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16, row = own + warp_row;
  const int left = warp_row * tile_stride<D> + left_offset<D>();
  const float scale = problem.scale * log2_of_e;
  const float slope = problem.slope ? -problem.slope[work.head] / problem.scale : 0;
  Fragment<1, D / 8> dkeys = {}, dvalues = {};
  const auto add_tile = [&](auto part, const Element* queries, const float* log_sum, Groups groups, int column) {
    constexpr bool Part = decltype(part)::value;
    const Element* const dout = queries + W::query_tile;
    const float *const log_sums = log_sum + lane % 4 * 2, *const deltas = log_sums + W::queries;
    Fragment<1, N> weights, dscores;
    product_of_rows<Part, D, Element>(weights, shared_address(keys + left),
                                      shared_address(queries + right_offset<D>()), groups);
    band.apply<Part>(weights, slope, row, column);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float2 base = *reinterpret_cast<const float2*>(log_sums + 8 * n);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        weights[0][n][e] = power_of_2(weights[0][n][e] * scale - (e % 2 ? base.y : base.x));
    }
    add_weighted_rows<Part, D, Element>(dvalues, weights, shared_address(dout + left_offset<D>()), groups);
    product_of_rows<Part, D, Element>(dscores, shared_address(values + left),
                                      shared_address(dout + right_offset<D>()), groups);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float2 delta = *reinterpret_cast<const float2*>(deltas + 8 * n);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        dscores[0][n][e] = weights[0][n][e] * (dscores[0][n][e] - (e % 2 ? delta.y : delta.x));
    }
    add_weighted_rows<Part, D, Element>(dkeys, dscores, shared_address(queries + left_offset<D>()), groups);
  };
  for (int t = first; t < last; ++t) {
    Element* const queries = stage_of(t);
    wait_for_copies<W::stages - 2>();
    rotate_tile<W::queries, D>(problem, queries, t * W::queries);
    __syncthreads();
    load_queries(t + W::stages - 1);
    const Groups groups = band.groups<W::queries>(row, 16, t * W::queries);
    if (groups.first >= groups.last || row >= problem.time) continue;
    const float* const log_sum = sums_of(t);
    if (band.all<W::queries>(row, 16, t * W::queries))
      add_tile(std::false_type(), queries, log_sum, groups, t * W::queries);
    else
      add_tile(std::true_type(), queries, log_sum, groups, t * W::queries);
  }

  store_fragment<D>(dkeys, keys + warp_row * tile_stride<D>, [&](int, int column) {
    return column < problem.twice_from ? problem.scale : 2 * problem.scale;
  });
  store_fragment<D>(dvalues, values + warp_row * tile_stride<D>, [](int, int) { return 1.0f; });
  rotate_tile<W::own, D>(problem, keys, own, -1);
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
  launch_attention(query_gradient_kernel<Element, D>, blocks, tile_threads, W::query_pass_bytes, stream, problem,
                   arrays);
  launch_attention(key_gradient_kernel<Element, D>, blocks, tile_threads, W::key_pass_bytes, stream, problem, arrays);
}

#define RECITE_INSTANTIATE(Element, D)                                                                        \
  template void launch_attention_backward<Element, D>(const AttentionProblem&, const Element*, const Element*, \
                                                      const float*, const Element*, Element*, float*, cudaStream_t);
RECITE_FOR_TENSOR_HEADS(RECITE_INSTANTIATE)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
