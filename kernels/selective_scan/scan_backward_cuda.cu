#include "kernels/selective_scan/scan_backward_cuda.cuh"
#include "kernels/selective_scan/scan_carry_cuda.h"

namespace recite::kernels {
namespace {

template <class Element, class Tile, bool Aligned>
__global__ __launch_bounds__(scan_threads, 2) void scan_backward(BackwardArguments<Element> in) {
  constexpr int N = Tile::state;
  extern __shared__ float4 memory[];
  auto& shared = *reinterpret_cast<BackwardShared<Tile>*>(memory);

  const int chunk = blockIdx.y, b = blockIdx.z, block_first = blockIdx.x * Tile::block_channels;
  const int begin = chunk * in.chunks.steps, end = min(in.time, begin + in.chunks.steps);
  const int first = block_first + Tile::first_channel();
  const int intervals = (in.time + scan_interval - 1) / scan_interval;
  TileArray<Tile> a, dh = {}, dA = {};
  load_tile<Tile>(in.A, first, in.channels, in.state, log2_e, a);
  if (in.carries)
    load_padded_tile<Tile>(in.carries + (static_cast<int64_t>(b) * in.chunks.count + chunk) * in.channels * N, first,
                           in.channels, dh);
#pragma unroll
  for (int e = 0; e < 16; ++e) shared.sums[e / 8][e % 8][threadIdx.x] = 0;
  load_parameters(in.D, block_first, in.channels, shared.D);
  load_parameters(in.delta_bias, block_first, in.channels, shared.bias);
  __syncthreads();

  for (int t0 = begin + (end - begin - 1) / scan_interval * scan_interval; t0 >= begin; t0 -= scan_interval) {
    const int steps = min(scan_interval, end - t0);
    const int64_t row = static_cast<int64_t>(b) * in.time + t0;
    TileArray<Tile> h[sub_steps], decay[sub_steps], start;
    const float* states = in.states + (static_cast<int64_t>(b) * intervals + t0 / scan_interval) * in.channels * N;
    load_padded_tile<Tile>(states, first, in.channels, start);
    load_interval<Aligned>(in, row, steps, block_first, shared);
    if (t0 > begin)
      prefetch_interval<Tile>(in, row - scan_interval, states - static_cast<int64_t>(in.channels) * N, block_first);
    __syncthreads();

#pragma unroll 1
    for (int sub = 0; sub < subs - 1; ++sub) {
#pragma unroll
      for (int i = 0; i < Tile::channels * Tile::states; i += 4) {
        const float* from = &start[i / Tile::states][i % Tile::states];
        shared.kept[sub][i / 4][threadIdx.x] = make_float4(from[0], from[1], from[2], from[3]);
      }
#pragma unroll
      for (int k = 0; k < sub_steps; ++k) advance<Tile>(shared, sub * sub_steps + k, a, start, decay[0], start);
    }
#pragma unroll 1
    for (int sub = subs - 1; sub >= 0; --sub) {
      if (sub < subs - 1) {
#pragma unroll
        for (int i = 0; i < Tile::channels * Tile::states; i += 4) {
          const float4 from = shared.kept[sub][i / 4][threadIdx.x];
          float* to = &start[i / Tile::states][i % Tile::states];
          to[0] = from.x, to[1] = from.y, to[2] = from.z, to[3] = from.w;
        }
      }
#pragma unroll
      for (int k = 0; k < sub_steps; ++k)
        advance<Tile>(shared, sub * sub_steps + k, a, k > 0 ? h[k - 1] : start, decay[k], h[k]);
#pragma unroll
      for (int k = sub_steps - 1; k >= 0; --k)
        reverse<Tile>(shared, sub * sub_steps + k, a, decay[k], h[k], k > 0 ? &h[k - 1] : nullptr, dh, dA);
    }
    __syncthreads();
    store_gradients<Aligned>(in, row, steps, block_first, shared);
    store_states<Tile>(in.partials, row, steps, shared);
  }
  __syncthreads();
  store_parameters<Element, Tile>(in, block_first, dA, shared);
}

// dB and dC: the channel blocks' shares, in order.
template <class Element>
__global__ void add_states(const float* shares, int64_t rows, int blocks, int state, int padded, Rows<Element> dB,
                           Rows<Element> dC) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t row = i / (2 * padded);
  const int column = static_cast<int>(i % (2 * padded)), n = column % padded;
  if (row >= rows || n >= state) return;
  float sum = 0;
  const float* from = shares + row * blocks * 2 * padded + column;
#pragma unroll 4
  for (int j = 0; j < blocks; ++j) sum += from[static_cast<int64_t>(j) * 2 * padded];
  const Rows<Element>& to = column < padded ? dB : dC;
  to.data[row * to.stride + n] = from_float<Element>(sum);
}

// dA, dD and d_delta_bias: the shares of rows and chunks, in order.
__global__ void add_parameters(const float* shares, int count, int64_t channels, int state, float* dA, float* dD,
                               float* d_delta_bias) {
  const int64_t size = channels * (state + 2), i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size) return;
  float sum = 0;
#pragma unroll 4
  for (int j = 0; j < count; ++j) sum += shares[j * size + i];
  const int64_t past_A = i - channels * state;
  if (past_A < 0) {
    if (dA) dA[i] = sum;
  } else if (past_A < channels) {
    if (dD) dD[past_A] = sum;
  } else if (d_delta_bias) {
    d_delta_bias[past_A - channels] = sum;
  }
}

// How the backward is cut, and where its workspace's parts begin, in numbers.
struct BackwardPlan {
  explicit BackwardPlan(const ScanShape& shape) {
    check_scan_shape(shape);
    const int64_t padded = padded_state(shape.state);
    with_padded_state(shape.state,
                      [&](auto state) { blocks = channel_blocks<NarrowTile<decltype(state)::value>>(shape); });
    chunks = scan_chunks(shape, shape.batch * blocks);
    parameters = shape.batch * shape.time * blocks * 2 * padded;
    carries = parameters + ceil_div(shape.batch * chunks.count * shape.channels * (shape.state + 2), 4) * 4;
    size = carries + scan_carry_floats(shape, chunks);
  }

  int64_t blocks = 0;  // of channels
  ScanChunks chunks;
  int64_t parameters, carries, size;
};

}  // namespace

int64_t selective_scan_backward_workspace_bytes(const ScanShape& shape) {
  return BackwardPlan(shape).size * static_cast<int64_t>(sizeof(float));
}

template <class Element>
void selective_scan_backward_cuda(const ScanShape& shape, const ScanCudaInputs<Element>& in, const float* states,
                                  Rows<const Element> dy, const ScanCudaGradients<Element>& gradients, void* workspace,
                                  cudaStream_t stream) {
  constexpr const char* what = "selective scan's gradient";
  constexpr int threads = 256;
  const BackwardPlan plan(shape);
  float* memory = static_cast<float*>(workspace);
  BackwardArguments<Element> arguments{
      scan_arguments(shape, in, plan.chunks),    states, nullptr, gradients.u, gradients.delta, gradients.z,
      Partials{memory, memory + plan.parameters}};
  arguments.dy = dy;
  if (plan.chunks.count > 1) {
    arguments.carries = memory + plan.carries;
    scan_gradient_carries<Element>(shape, arguments, memory + plan.carries, stream);
  }
  with_padded_state(shape.state, [&](auto state) {
    using Tile = NarrowTile<decltype(state)::value>;
    const dim3 blocks(static_cast<unsigned>(plan.blocks), plan.chunks.count, arguments.batch);
    const bool aligned =
        is_aligned(arguments) && is_aligned(arguments.du) && is_aligned(arguments.ddelta) && is_aligned(arguments.dz);
    launch(what, aligned ? scan_backward<Element, Tile, true> : scan_backward<Element, Tile, false>, blocks,
           scan_threads, sizeof(BackwardShared<Tile>), stream, arguments);
  });
  const int padded = padded_state(shape.state);
  const int64_t rows = shape.batch * shape.time;
  launch(what, add_states<Element>, dim3(static_cast<unsigned>(ceil_div(rows * 2 * padded, threads))), threads, 0,
         stream, arguments.partials.states, rows, static_cast<int>(plan.blocks), arguments.state, padded, gradients.B,
         gradients.C);
  launch(what, add_parameters, dim3(static_cast<unsigned>(ceil_div(shape.channels * (shape.state + 2), threads))),
         threads, 0, stream, arguments.partials.parameters, arguments.batch * plan.chunks.count, shape.channels,
         arguments.state, gradients.A, gradients.D, gradients.delta_bias);
}

template void selective_scan_backward_cuda<float>(const ScanShape&, const ScanCudaInputs<float>&, const float*,
                                                  Rows<const float>, const ScanCudaGradients<float>&, void*,
                                                  cudaStream_t);
template void selective_scan_backward_cuda<__nv_bfloat16>(const ScanShape&, const ScanCudaInputs<__nv_bfloat16>&,
                                                          const float*, Rows<const __nv_bfloat16>,
                                                          const ScanCudaGradients<__nv_bfloat16>&, void*, cudaStream_t);

}  // namespace recite::kernels
