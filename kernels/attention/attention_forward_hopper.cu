// The forward on Hopper's tensor cores (wgmma): FlashAttention-3's division of work (Shah et al., arXiv 2407.08608), in
// the pipeline of attention_pipeline.cuh. Own rows are queries; they go through the keys and values that they see.
#include "kernels/attention/attention_hopper.h"
#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_maps.h"
#include "kernels/attention/attention_pipeline.cuh"
#include "kernels/attention/attention_softmax.cuh"

namespace recite::kernels {

namespace {

template <int D>
using ForwardPipeline =
    std::conditional_t<D <= 64, Pipeline<D, 4, 1, 6, 112, 32>, Pipeline<D, 3, 1, D <= 80 ? 6 : 3, 144, 72>>;

template <class Element, class P>
__device__ void compute_items(const AttentionProblem& problem, const TileMaps<P::D>& out, float* log_sum,
                              typename P::Shared& shared) {
  constexpr int D = P::D;
  const float scale = problem.scale * log2_of_e;
  const int group = warpgroup() - 1;
  Stage<P::stages> stage;
  for (int number = 0, index; (index = shared.item_of(number)) >= 0; ++number) {
    const typename P::Item item(problem, index, true);
    const WarpgroupPart part(problem, item, (group + number) % P::computing);  // in turns: later queries see more keys
    const int first = part.first + row_of_warp(), row = item.own + first;
    const float slope = problem.slope ? problem.slope[item.work.head] / problem.scale : 0;
    unsigned char* const queries = shared.own[number % 2][0];

    OnlineSoftmax<D, stage_rows / 8> softmax;
    Fragment<stage_rows / 8> scores;
    const auto start_scores = [&] {
      shared.full[stage.at].wait(stage.turn);
      begin_products();
      start_product_of_rows<Element, typename P::OwnTile, typename P::StageTile, D>(
          scores, shared_address(queries), part.first, shared_address(shared.stage[stage.at][0]));
      end_group_of_products();
    };
    P::skip(shared, stage, part.begin - item.first);
    if (part.begin < part.end) {
      prepare_own_rows<P::own_rows, D, Element>(problem, queries, item.own, first,
                                                [&] { shared.full[stage.at].wait(stage.turn); });
      start_scores();
      wait_for_products();
      settle(scores);
    }
    for (int t = part.begin; t < part.end; ++t) {
      const int column = t * stage_rows;
      if (item.band.template all<stage_rows>(part.row, warpgroup_rows, column))
        item.band.template apply<false>(scores, slope, row, column);
      else
        item.band.template apply<true>(scores, slope, row, column);
      softmax.to_weights(scores, scale);
      PackedWeights weights;
      pack_weights<Element>(scores, weights);
      settle(softmax.out);
      begin_products();
      start_weighted_rows<Element, typename P::StageTile, D>(softmax.out, weights,
                                                             shared_address(shared.stage[stage.at][1]));
      end_group_of_products();
      stage.next();
      if (t + 1 < part.end) start_scores();
      wait_for_products();
      settle(softmax.out);
      settle(scores);
      arrive_of_warp(shared.empty[stage.before()]);
    }
    P::skip(shared, stage, item.last - part.end);

    softmax.add_sums_of_lanes();
    if (part.exists(problem)) {
      wait_for_warpgroup();  // its last product of queries is done: their place is free for what they found
      const float inverse[2] = {1 / softmax.sum[0], 1 / softmax.sum[1]};
      store_fragment_swizzled<P::own_rows, D, Element>(softmax.out, queries, first,
                                                       [&](int half, int) { return inverse[half]; });
      show_to_products();
      wait_for_warpgroup();
      if (threadIdx.x % warpgroup_threads == 0) {
        out.template store<P::own_rows>(queries, part.first, item.work.batch, part.row, item.work.head);
        out.end_stores();
      }
      if (log_sum) softmax.store_log_sums(log_sum + item.work.row_of_sums(problem), row, problem.time, scale);
    }
    arrive_of_warp(shared.own_free[number % 2]);
  }
}

template <class Element, class P>
__global__ void __launch_bounds__(P::threads, 1)
    forward_kernel(const AttentionProblem problem, const __grid_constant__ TileMaps<P::D> qkv,
                   const __grid_constant__ TileMaps<P::D> out, float* log_sum) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<typename P::Shared*>(memory);
  const bool turning = problem.rotary > 0;
  shared.start(turning);
  if (warpgroup() == 0) {
    leave_registers<P::copy_registers>();
    const auto load = [&](const auto& item, int part, auto rows, unsigned char* tile, int first, int time,
                          Barrier& arrived) {
      qkv.template load<decltype(rows)::value>(tile, first, item.work.batch, time, item.work.head * 3 + part, arrived);
    };
    if (threadIdx.x == 0)
      P::copy(
          problem, true, turning, shared,
          [&](const auto& item, int, unsigned char* tile, int first, Barrier& arrived) {
            load(item, 0, std::integral_constant<int, P::own_rows>(), tile, first, item.own + first, arrived);
          },
          [&](const auto& item, int time, int i, unsigned char* tile, Barrier& arrived) {
            load(item, 1 + i, std::integral_constant<int, stage_rows>(), tile, 0, time, arrived);
          });
    else if (threadIdx.x >= 32 && turning)
      P::prepare(problem, true, shared, [&](const auto&, int time, int at, const auto& wait) {
        turn_rows<typename P::StageTile, Element>(problem, shared.stage[at][0], time, 0, stage_rows, wait);
      });
  } else {
    take_registers<P::compute_registers>();
    compute_items<Element, P>(problem, out, log_sum, shared);
  }
}

}  // namespace

template <class Element, int D>
void launch_hopper_forward(const AttentionProblem& problem, const Element* qkv, Element* out, float* log_sum,
                           cudaStream_t stream) {
  using P = ForwardPipeline<D>;
  launch_pipeline<P>(forward_kernel<Element, P>, problem, stream, tile_maps<D>(problem, qkv, 3),
                     tile_maps<D>(problem, out, 1), log_sum);
}

#define RECITE_INSTANTIATE(Element, D)                                                                       \
  template void launch_hopper_forward<Element, D>(const AttentionProblem&, const Element*, Element*, float*, \
                                                  cudaStream_t);
RECITE_FOR_HOPPER_HEADS(RECITE_INSTANTIATE)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
