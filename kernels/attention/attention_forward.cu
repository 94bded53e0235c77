// The forward on tensor cores: a block has a tile of queries of one head, each of its warps 16 of them, and goes
// through the tiles of keys that they see, the last first, while the next is on its way to shared memory.
#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_work.cuh"

namespace recite::kernels {

namespace {

template <int D>
struct Forward {
  static constexpr int queries = tile_threads / 2, keys = 64;
  static constexpr int key_tile = keys * tile_stride<D>;
  static constexpr int stages = 2;                              // tiles of keys that are used or on their way
  static constexpr int blocks = D <= 64 ? 4 : D <= 80 ? 3 : 2;  // on a multiprocessor, for their registers

  // Queries; for each stage keys and values; for each stage the angles of keys.
  static size_t shared_bytes(int rotary) {
    return (queries * tile_stride<D> + stages * 2 * key_tile) * sizeof(__half) + stages * keys * rotary * sizeof(float);
  }
};

// A warp's queries through a tile of keys.
template <bool Part, class Element, int D, int N>
__device__ void add_tile(OnlineSoftmax<D, N>& softmax, uint32_t queries, uint32_t keys, uint32_t values, Groups groups,
                         const Band& band, int row, int column, float scale, float slope) {
  Fragment<N> scores;
  product_of_rows<Part, D, Element>(scores, queries, keys, groups);
  band.apply<Part>(scores, slope, row, column);
  softmax.to_weights(scores, scale);
  add_weighted_rows<Part, D, Element>(softmax.out, scores, values, groups);
}

template <class Element, int D>
__global__ void __launch_bounds__(tile_threads, Forward<D>::blocks)
    forward_kernel(const AttentionProblem problem, const Element* qkv, Element* out, float* log_sum) {
  using F = Forward<D>;
  extern __shared__ __align__(16) unsigned char shared[];
  Element* const queries = reinterpret_cast<Element*>(shared);
  Element* const tiles = queries + F::queries * tile_stride<D>;
  float* const angles = reinterpret_cast<float*>(tiles + F::stages * 2 * F::key_tile);

  const int query_tiles = (problem.time + F::queries - 1) / F::queries;
  const WorkItem work(problem, query_tiles);
  const int own = (query_tiles - 1 - work.rank) * F::queries;
  const int64_t stride = static_cast<int64_t>(problem.heads) * 3 * D;
  load_tile<F::queries, D>(queries, qkv + work.at<D>(problem, own, 0), stride, problem.time - own);
  end_group_of_copies();

  const Band band = Band::of_query(Band::window(problem, work.head));
  const int first = band.first_tile<F::keys>(own), last = band.last_tile<F::keys>(own, F::queries, problem.time);
  const auto stage_of = [&](int t) { return tiles + t % F::stages * 2 * F::key_tile; };
  const auto angles_of = [&](int t) { return angles + t % F::stages * F::keys * problem.rotary; };
  const auto load_keys = [&](int t) {
    if (t >= first) {
      const int begin = t * F::keys, count = problem.time - begin;
      const Element* const from = qkv + work.at<D>(problem, begin, 1);
      load_tile<F::keys, D>(stage_of(t), from, stride, count);
      load_tile<F::keys, D>(stage_of(t) + F::key_tile, from + D, stride, count);
      load_angles<F::keys>(problem, angles_of(t), begin);
    }
    end_group_of_copies();
  };
#pragma unroll
  for (int ahead = 1; ahead < F::stages; ++ahead) load_keys(last - ahead);
  const float slope = problem.slope ? problem.slope[work.head] / problem.scale : 0;
  const float scale = problem.scale * log2_of_e;
  wait_for_copies<F::stages - 1>();
  prepare_own_tile<F::queries, D>(problem, queries, own);

  const int warp_row = first_row_of_warp<F::queries>(), row = own + warp_row;
  const uint32_t left = shared_address(queries + warp_row * tile_stride<D> + left_offset<D>());
  OnlineSoftmax<D, F::keys / 8> softmax;
  for (int t = last - 1; t >= first; --t) {
    const int begin = t * F::keys;
    Element* const keys = stage_of(t);
    wait_for_copies<F::stages - 2>();
    rotate_tile<F::keys, D>(problem, keys, {angles_of(t), angles_of(t) + F::keys * (problem.rotary / 2)}, F::keys);
    __syncthreads();
    load_keys(t - F::stages + 1);
    const Groups groups = band.groups<F::keys>(row, 16, begin);
    if (groups.first >= groups.last || row >= problem.time) continue;
    const uint32_t k = shared_address(keys + right_offset<D>()),
                   v = shared_address(keys + F::key_tile + left_offset<D>());
    if (band.all<F::keys>(row, 16, begin))
      add_tile<false, Element>(softmax, left, k, v, groups, band, row, begin, scale, slope);
    else
      add_tile<true, Element>(softmax, left, k, v, groups, band, row, begin, scale, slope);
  }

  softmax.add_sums_of_lanes();
  store_fragment<D>(softmax.out, queries + warp_row * tile_stride<D>,
                    [&](int half, int) { return 1 / softmax.sum[half]; });
  if (log_sum) softmax.store_log_sums(log_sum + work.row_of_sums(problem), row, problem.time, scale);
  __syncwarp();
  store_tile<F::queries, D>(queries, out + work.at<D, 1>(problem, own, 0), static_cast<int64_t>(problem.heads) * D,
                            problem.time - own);
}

}  // namespace

template <class Element, int D>
void launch_attention_forward(const AttentionProblem& problem, const Element* qkv, Element* out, float* log_sum,
                              cudaStream_t stream) {
  using F = Forward<D>;
  const int64_t blocks = static_cast<int64_t>(problem.batch) * problem.heads * ((problem.time - 1) / F::queries + 1);
  launch_attention(forward_kernel<Element, D>, blocks, tile_threads, F::shared_bytes(problem.rotary), stream, problem,
                   qkv, out, log_sum);
}

#define RECITE_INSTANTIATE(Element, D)                                                                          \
  template void launch_attention_forward<Element, D>(const AttentionProblem&, const Element*, Element*, float*, \
                                                     cudaStream_t);
RECITE_FOR_TENSOR_HEADS(RECITE_INSTANTIATE)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
