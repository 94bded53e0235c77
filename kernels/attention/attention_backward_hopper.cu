// The backward on Hopper's tensor cores (wgmma), in the pipeline of attention_pipeline.cuh: as in attention_backward.cu
// two kernels that share no sums. In the first own rows are queries, in the second keys and values.
#include "kernels/attention/attention_delta.cuh"
#include "kernels/attention/attention_hopper.h"
#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_maps.h"
#include "kernels/attention/attention_pipeline.cuh"
#include "kernels/cuda/columns.cuh"

namespace recite::kernels {

namespace {

// Own tiles: queries and dout; stages: keys and values.
template <int D>
using QueryPipeline =
    std::conditional_t<D <= 64, Pipeline<D, 3, 2, 6, 144, 72>, Pipeline<D, 2, 2, D <= 80 ? 6 : 3, 216, 72>>;
// Own tiles: keys and values; stages: queries and dout, and their log_sum and delta.
template <int D>
using KeyPipeline = std::conditional_t<D <= 80, Pipeline<D, 2, 2, 6, 216, 72>, Pipeline<D, 2, 2, 3, 240, 24>>;

template <class Element, int D>
struct BackwardArrays {
  TileMaps<D> qkv, out_map, dout, dqkv;
  const Element* out;
  const float* log_sum;
  float* delta;
  float* shares;  // of AttentionGradientSums: (B, tiles of 64 rows, H, 3, d), or null
};

template <class P, class Element>
__device__ Element* own_row(unsigned char* tile, int row, int column) {
  return P::OwnTile::template at<Element>(tile, row, column);
}

static_assert(gradient_share_rows == warpgroup_rows);

// The sums of the columns of a warpgroup's 64 rows, from `first` on, of a tile that all of it see: products with a row
// of ones, 16 columns a warp. Rows after the last time are zeros.
template <class Element, class P>
__device__ void add_up_columns(unsigned char* tile, int first, float* to) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x % warpgroup_threads / 32;
  const uint32_t one = packed<Element>(1, 1), ones[4] = {one, one, one, one};
  for (int column = warp * 16; column < P::D; column += 4 * 16) {
    float sums[2][4] = {};
#pragma unroll
    for (int row = 0; row < warpgroup_rows; row += 16) {
      uint32_t numbers[4];  // two of the upper and the lower 8 rows, two of the next 8 columns
      load_matrices_transposed(
          numbers, shared_address(own_row<P, Element>(tile, first + row + lane % 16, column + lane / 16 * 8)));
      multiply_add<Element>(sums[0], ones, numbers[0], numbers[1]);
      multiply_add<Element>(sums[1], ones, numbers[2], numbers[3]);
    }
    if (lane < 4)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        *reinterpret_cast<float2*>(to + column + half * 8 + lane * 2) = make_float2(sums[half][0], sums[half][1]);
  }
}

// Turns a warp's 16 gradients, from time `time` on, back: numbers that are 8 `Apart` apart turn together, and are the
// same lane's.
template <int Apart, int N>
__device__ void turn_back_by(const AttentionProblem& problem, Fragment<N>& gradients, int time) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int t = time + half * 8 + lane / 4;
    if (t >= problem.time) continue;
    const Angles angles = Angles::at(problem, t);
#pragma unroll
    for (int n = 0; n < Apart; ++n) {
      const int i = n * 8 + lane % 4 * 2;
      const float2 cos = *reinterpret_cast<const float2*>(angles.cos + i),
                   sin = *reinterpret_cast<const float2*>(angles.sin + i);
      const auto turn = [&](int e, float c, float s) {
        const float a = gradients[n][e], b = gradients[n + Apart][e];
        gradients[n][e] = a * c + b * s;
        gradients[n + Apart][e] = b * c - a * s;
      };
      turn(2 * half, cos.x, sin.x);
      turn(2 * half + 1, cos.y, sin.y);
    }
  }
}
// In registers, where a quarter (of head sizes 64 and 128), all or none of a head's dimensions are rotated; false: they
// are still to be turned.
template <int N>
__device__ bool turn_back(const AttentionProblem& problem, Fragment<N>& gradients, int time) {
  bool turned = problem.rotary == 0;
  const auto turn_if = [&](auto apart) {
    if (problem.rotary != 16 * apart()) return;
    turn_back_by<apart()>(problem, gradients, time);
    turned = true;
  };
  if constexpr (N % 8 == 0) turn_if(std::integral_constant<int, N / 8>());
  turn_if(std::integral_constant<int, N / 2>());
  return turned;
}

// Has the gradients of a warpgroup's rows written to where the rows themselves lie: part 0, 1 or 2 of (B, T, H, 3, d).
// Those of a warp, from `first` on, are turned back before, if they are `to_turn`.
template <class Element, class P>
__device__ void store_gradients(const AttentionProblem& problem, const BackwardArrays<Element, P::D>& arrays,
                                unsigned char* tile, const typename P::Item& item, const WarpgroupPart& part,
                                int qkv_part, bool to_turn) {
  if (to_turn) {
    const int first = part.first + row_of_warp();
    rotate_rows(
        problem, [tile](int row, int column) { return own_row<P, Element>(tile, row, column); },
        Angles::at(problem, item.own), first, min(16, problem.time - item.own - first), -1);
  }
  show_to_products();
  wait_for_warpgroup();
  if (threadIdx.x % warpgroup_threads == 0)
    arrays.dqkv.template store<P::own_rows>(tile, part.first, item.work.batch, part.row, item.work.head * 3 + qkv_part);
}

// Writes a warpgroup's shares of the sums: of tiles that store_gradients() has shown to all of it, of parts
// `first_part` on.
template <class Element, class P, class... Tiles>
__device__ void add_up_gradients(const AttentionProblem& problem, const BackwardArrays<Element, P::D>& arrays,
                                 const typename P::Item& item, const WarpgroupPart& part, int first_part,
                                 Tiles*... tiles) {
  if (!arrays.shares) return;
  const int64_t share =
      static_cast<int64_t>(item.work.batch) * gradient_shares(problem.time) + part.row / gradient_share_rows;
  float* to = arrays.shares + ((share * problem.heads + item.work.head) * 3 + first_part) * P::D;
  ((add_up_columns<Element, P>(tiles, part.first, to), to += P::D), ...);
}

template <class Element, class P>
__device__ void compute_query_gradients(const AttentionProblem& problem, const BackwardArrays<Element, P::D>& arrays,
                                        typename P::Shared& shared) {
  constexpr int D = P::D, N = stage_rows / 8;
  const float scale = problem.scale * log2_of_e;
  const int group = warpgroup() - 1, lane = threadIdx.x % 32;
  Stage<P::stages> stage;
  for (int number = 0, index; (index = shared.item_of(number)) >= 0; ++number) {
    const typename P::Item item(problem, index, true);
    const WarpgroupPart part(problem, item, (group + number) % P::computing);
    const int first = part.first + row_of_warp(), row = item.own + first;
    const float slope = problem.slope ? problem.slope[item.work.head] / problem.scale : 0;
    unsigned char *const queries = shared.own[number % 2][0], *const dout = shared.own[number % 2][1];
    const int64_t sums = item.work.row_of_sums(problem);

    Fragment<D / 8> gradient = {};
    Fragment<N> scores, dweights;
    float log_sum[2] = {}, delta[2] = {};
    const auto start_scores = [&] {
      shared.full[stage.at].wait(stage.turn);
      begin_products();
      start_product_of_rows<Element, typename P::OwnTile, typename P::StageTile, D>(
          scores, shared_address(queries), part.first, shared_address(shared.stage[stage.at][0]));
      start_product_of_rows<Element, typename P::OwnTile, typename P::StageTile, D>(
          dweights, shared_address(dout), part.first, shared_address(shared.stage[stage.at][1]));
      end_group_of_products();
    };
    const SumsOfProducts<Element, D> products(arrays.out + item.work.template at<D, 1>(problem, row, 0),
                                              static_cast<int64_t>(problem.heads) * D, problem.time - row);
    P::skip(shared, stage, part.begin - item.first);
    if (part.begin < part.end) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (const int t = row + half * 8 + lane / 4; t < problem.time) log_sum[half] = arrays.log_sum[sums + t];
      prepare_own_rows<P::own_rows, D, Element>(problem, queries, item.own, first,
                                                [&] { shared.full[stage.at].wait(stage.turn); });
      products.with([&](int r, int c) { return own_row<P, Element>(dout, first + r, c); }, delta);
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (const int t = row + half * 8 + lane / 4; lane % 4 == 0 && t < problem.time)
          arrays.delta[sums + t] = delta[half];
      start_scores();
      wait_for_products();
      settle(scores);
      settle(dweights);
    }
    for (int t = part.begin; t < part.end; ++t) {
      const int column = t * stage_rows;
      if (item.band.template all<stage_rows>(part.row, warpgroup_rows, column))
        item.band.template apply<false>(scores, slope, row, column);
      else
        item.band.template apply<true>(scores, slope, row, column);
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          scores[n][e] = power_of_2(scores[n][e] * scale - log_sum[e / 2]) * (dweights[n][e] - delta[e / 2]);
      PackedWeights dscores;
      pack_weights<Element>(scores, dscores);
      begin_products();
      start_weighted_rows<Element, typename P::StageTile, D>(gradient, dscores,
                                                             shared_address(shared.stage[stage.at][0]));
      end_group_of_products();
      stage.next();
      if (t + 1 < part.end) start_scores();
      wait_for_products();
      settle(gradient);
      settle(scores);
      settle(dweights);
      arrive_of_warp(shared.empty[stage.before()]);
    }
    P::skip(shared, stage, item.last - part.end);

    if (part.exists(problem)) {
      const bool turned = turn_back(problem, gradient, row);
      wait_for_warpgroup();  // its last product of queries is done: their place is free for their gradients
      store_fragment_swizzled<P::own_rows, D, Element>(gradient, queries, first, [&](int, int c) {
        return c < problem.twice_from ? problem.scale : 2 * problem.scale;
      });
      store_gradients<Element, P>(problem, arrays, queries, item, part, 0, !turned);
      add_up_gradients<Element, P>(problem, arrays, item, part, 0, queries);
      if (threadIdx.x % warpgroup_threads == 0) arrays.dqkv.end_stores();
    }
    arrive_of_warp(shared.own_free[number % 2]);
  }
}

template <class Element, class P>
__device__ void compute_key_gradients(const AttentionProblem& problem, const BackwardArrays<Element, P::D>& arrays,
                                      typename P::Shared& shared) {
  constexpr int D = P::D, N = stage_rows / 8;
  const float scale = problem.scale * log2_of_e;
  const int group = warpgroup() - 1, lane = threadIdx.x % 32;
  Stage<P::stages> stage;
  for (int number = 0, index; (index = shared.item_of(number)) >= 0; ++number) {
    const typename P::Item item(problem, index, false);
    const WarpgroupPart part(problem, item, (group + number) % P::computing);
    const int first = part.first + row_of_warp(), row = item.own + first;
    const float slope = problem.slope ? -problem.slope[item.work.head] / problem.scale : 0;
    unsigned char *const keys = shared.own[number % 2][0], *const values = shared.own[number % 2][1];

    Fragment<D / 8> dkeys = {}, dvalues = {};
    Fragment<N> weights, dscores;
    const auto start_weights = [&] {
      shared.full[stage.at].wait(stage.turn);
      begin_products();
      start_product_of_rows<Element, typename P::OwnTile, typename P::StageTile, D>(
          weights, shared_address(keys), part.first, shared_address(shared.stage[stage.at][0]));
      start_product_of_rows<Element, typename P::OwnTile, typename P::StageTile, D>(
          dscores, shared_address(values), part.first, shared_address(shared.stage[stage.at][1]));
      end_group_of_products();
    };
    P::skip(shared, stage, part.begin - item.first);
    if (part.begin < part.end) {
      prepare_own_rows<P::own_rows, D, Element>(problem, keys, item.own, first,
                                                [&] { shared.full[stage.at].wait(stage.turn); });
      start_weights();
      wait_for_products();
      settle(weights);
      settle(dscores);
    }
    for (int t = part.begin; t < part.end; ++t) {
      const int column = t * stage_rows;
      const float* const log_sums = shared.sums[stage.at][0] + lane % 4 * 2;
      const float* const deltas = shared.sums[stage.at][1] + lane % 4 * 2;
      if (item.band.template all<stage_rows>(part.row, warpgroup_rows, column))
        item.band.template apply<false>(weights, slope, row, column);
      else
        item.band.template apply<true>(weights, slope, row, column);
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float2 base = *reinterpret_cast<const float2*>(log_sums + 8 * n);
        const float2 delta = *reinterpret_cast<const float2*>(deltas + 8 * n);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          weights[n][e] = power_of_2(weights[n][e] * scale - (e % 2 ? base.y : base.x));
          dscores[n][e] = weights[n][e] * (dscores[n][e] - (e % 2 ? delta.y : delta.x));
        }
      }
      PackedWeights left, dleft;
      pack_weights<Element>(weights, left);
      pack_weights<Element>(dscores, dleft);
      begin_products();
      start_weighted_rows<Element, typename P::StageTile, D>(dvalues, left, shared_address(shared.stage[stage.at][1]));
      start_weighted_rows<Element, typename P::StageTile, D>(dkeys, dleft, shared_address(shared.stage[stage.at][0]));
      end_group_of_products();
      stage.next();
      constexpr bool at_once = D <= 80;  // of 128 dimensions the gradients leave no registers for the next weights
      if (at_once && t + 1 < part.end) start_weights();
      wait_for_products();
      settle(dkeys);
      settle(dvalues);
      arrive_of_warp(shared.empty[stage.before()]);
      if (!at_once && t + 1 < part.end) {
        start_weights();
        wait_for_products();
      }
      settle(weights);
      settle(dscores);
    }
    P::skip(shared, stage, item.last - part.end);

    if (part.exists(problem)) {
      const bool turned = turn_back(problem, dkeys, row);
      wait_for_warpgroup();  // its last products of keys and values are done
      store_fragment_swizzled<P::own_rows, D, Element>(
          dkeys, keys, first, [&](int, int c) { return c < problem.twice_from ? problem.scale : 2 * problem.scale; });
      store_fragment_swizzled<P::own_rows, D, Element>(dvalues, values, first, [](int, int) { return 1.0f; });
      store_gradients<Element, P>(problem, arrays, keys, item, part, 1, !turned);
      store_gradients<Element, P>(problem, arrays, values, item, part, 2, false);
      add_up_gradients<Element, P>(problem, arrays, item, part, 1, keys, values);
      if (threadIdx.x % warpgroup_threads == 0) arrays.dqkv.end_stores();
    }
    arrive_of_warp(shared.own_free[number % 2]);
  }
}

template <class Element, class P>
__global__ void __launch_bounds__(P::threads, 1)
    query_gradient_kernel(const AttentionProblem problem,
                          const __grid_constant__ BackwardArrays<Element, P::D> arrays) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<typename P::Shared*>(memory);
  const bool turning = problem.rotary > 0;
  shared.start(turning);
  if (warpgroup() == 0) {
    leave_registers<P::copy_registers>();
    if (threadIdx.x == 0)
      P::copy(
          problem, true, turning, shared,
          [&](const auto& item, int i, unsigned char* tile, int first, Barrier& arrived) {
            const auto& [batch, head, rank] = item.work;
            if (i == 0) {
              arrays.qkv.template load<P::own_rows>(tile, first, batch, item.own + first, head * 3, arrived);
              arrays.out_map.prefetch(batch, item.own + first, head);
            } else {
              arrays.dout.template load<P::own_rows>(tile, first, batch, item.own + first, head, arrived);
            }
          },
          [&](const auto& item, int time, int i, unsigned char* tile, Barrier& arrived) {
            arrays.qkv.template load<stage_rows>(tile, 0, item.work.batch, time, item.work.head * 3 + 1 + i, arrived);
          });
    else if (threadIdx.x >= 32 && turning)
      P::prepare(problem, true, shared, [&](const auto&, int time, int at, const auto& wait) {
        turn_rows<typename P::StageTile, Element>(problem, shared.stage[at][0], time, 0, stage_rows, wait);
      });
  } else {
    take_registers<P::compute_registers>();
    compute_query_gradients<Element, P>(problem, arrays, shared);
  }
}

template <class Element, class P>
__global__ void __launch_bounds__(P::threads, 1)
    key_gradient_kernel(const AttentionProblem problem, const __grid_constant__ BackwardArrays<Element, P::D> arrays) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<typename P::Shared*>(memory);
  shared.start(true);
  if (warpgroup() == 0) {
    leave_registers<P::copy_registers>();
    if (threadIdx.x == 0)
      P::copy(
          problem, false, true, shared,
          [&](const auto& item, int i, unsigned char* tile, int first, Barrier& arrived) {
            arrays.qkv.template load<P::own_rows>(tile, first, item.work.batch, item.own + first,
                                                  item.work.head * 3 + 1 + i, arrived);
          },
          [&](const auto& item, int time, int i, unsigned char* tile, Barrier& arrived) {
            const auto& [batch, head, rank] = item.work;
            if (i == 0)
              arrays.qkv.template load<stage_rows>(tile, 0, batch, time, head * 3, arrived);
            else
              arrays.dout.template load<stage_rows>(tile, 0, batch, time, head, arrived);
          });
    else if (threadIdx.x >= 32)
      P::prepare(problem, false, shared, [&](const auto& item, int time, int at, const auto& wait) {
        const int64_t from = item.work.row_of_sums(problem) + time;
        float sums[2][stage_rows / 32];
#pragma unroll
        for (int i = 0; i < stage_rows / 32; ++i) {
          const int row = threadIdx.x % 32 + i * 32;
          const bool exists = time + row < problem.time;
          sums[0][i] = exists ? arrays.log_sum[from + row] : INFINITY;  // weight 0, whatever its bias
          sums[1][i] = exists ? arrays.delta[from + row] : 0;
        }
        turn_rows<typename P::StageTile, Element>(problem, shared.stage[at][0], time, 0, stage_rows, wait);
#pragma unroll
        for (int i = 0; i < stage_rows / 32; ++i)
#pragma unroll
          for (int kind = 0; kind < 2; ++kind) shared.sums[at][kind][threadIdx.x % 32 + i * 32] = sums[kind][i];
      });
  } else {
    take_registers<P::compute_registers>();
    compute_key_gradients<Element, P>(problem, arrays, shared);
  }
}

}  // namespace

template <class Element, int D>
void launch_hopper_backward(const AttentionProblem& problem, const Element* qkv, const Element* out,
                            const float* log_sum, const Element* dout, Element* dqkv, float* delta,
                            const AttentionGradientSums& sums, cudaStream_t stream) {
  const BackwardArrays<Element, D> arrays{tile_maps<D>(problem, qkv, 3),
                                          tile_maps<D>(problem, out, 1),
                                          tile_maps<D>(problem, dout, 1),
                                          tile_maps<D>(problem, dqkv, 3),
                                          out,
                                          log_sum,
                                          delta,
                                          sums.to ? sums.workspace : nullptr};
  using ForQueries = QueryPipeline<D>;
  using ForKeys = KeyPipeline<D>;
  launch_pipeline<ForQueries>(query_gradient_kernel<Element, ForQueries>, problem, stream, arrays);
  launch_pipeline<ForKeys>(key_gradient_kernel<Element, ForKeys>, problem, stream, arrays);
  if (sums.to) {
    const int64_t columns = int64_t{problem.heads} * 3 * D,
                  shares = int64_t{problem.batch} * gradient_shares(problem.time);
    add_all_shares<1>("attention", sums.workspace, shares, columns, {{sums.to}}, stream);
  }
}

#define RECITE_INSTANTIATE(Element, D)                                                                      \
  template void launch_hopper_backward<Element, D>(const AttentionProblem&, const Element*, const Element*, \
                                                   const float*, const Element*, Element*, float*,          \
                                                   const AttentionGradientSums&, cudaStream_t);
RECITE_FOR_HOPPER_HEADS(RECITE_INSTANTIATE)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
