#include "kernels/selective_scan/scan_carry_cuda.h"

namespace recite::kernels {
namespace {

constexpr int64_t wanted_blocks = 528;  // four of 128 threads on each of an H100's multiprocessors

template <class Element>
struct ForwardArguments : ScanArguments<Element> {
  DeviceRows<Element> y;
  float *states, *final;
  const float* carries;
};

// delta' and delta' u of an interval's steps, in shared memory.
template <class Element, int Channels>
__device__ void load_interval(const ScanArguments<Element>& in, int64_t row, int steps, int block_first, float* delta,
                              float* weight) {
  for (int j = threadIdx.x; j < scan_interval * Channels / 8; j += scan_threads) {
    const int k = j / (Channels / 8), c = j % (Channels / 8) * 8;
    if (k >= steps) break;
    float d[8], u[8];
    load(in.u, row + k, block_first + c, in.channels, u);
    load_delta(in, row + k, block_first + c, d);
    pack(d, delta + k * Channels + c);
#pragma unroll
    for (int e = 0; e < 8; ++e) d[e] *= u[e];
    pack(d, weight + k * Channels + c);
  }
}

// y of an interval's steps, from its sums over states.
template <class Element, int Channels>
__device__ void store_outputs(const ForwardArguments<Element>& in, int64_t row, int steps, int block_first,
                              const float* sums) {
  for (int j = threadIdx.x; j < scan_interval * Channels / 8; j += scan_threads) {
    const int k = j / (Channels / 8), c = j % (Channels / 8) * 8, d = block_first + c;
    if (k >= steps) break;
    float y[8], v[8];
    unpack(sums + k * Channels + c, y);
    if (in.D) {
      load(in.u, row + k, d, in.channels, v);
#pragma unroll
      for (int e = 0; e < 8; ++e) y[e] += d + e < in.channels ? in.D[d + e] * v[e] : 0;
    }
    if (in.z.data) {
      load(in.z, row + k, d, in.channels, v);
#pragma unroll
      for (int e = 0; e < 8; ++e) y[e] *= v[e] * sigmoid(v[e]);
    }
    store(in.y, row + k, d, in.channels, y);
  }
}

template <class Element, class Tile>
__global__ __launch_bounds__(scan_threads, 4) void scan_forward(ForwardArguments<Element> in) {
  constexpr int N = Tile::state, channels = Tile::block_channels;
  __shared__ __align__(16) float delta[scan_interval][channels], weight[scan_interval][channels];
  __shared__ __align__(16) float sums[scan_interval][channels];
  __shared__ __align__(16) float B[scan_interval][N], C[scan_interval][N];

  const int chunk = blockIdx.y, b = blockIdx.z;
  const int begin = chunk * in.chunks.steps, end = min(in.time, begin + in.chunks.steps);
  const int block_first = blockIdx.x * channels, c0 = Tile::first_channel(), first = block_first + c0;
  const int intervals = (in.time + scan_interval - 1) / scan_interval;
  const int own_sum = c0 + first_sum<Tile::channels, Tile::lanes, 1>();
  TileArray<Tile> a, h;
  load_tile<Tile>(in.A, first, in.channels, in.state, log2_e, a);
  if (in.carries)
    load_padded_tile<Tile>(in.carries + (static_cast<int64_t>(b) * in.chunks.count + chunk) * in.channels * N, first,
                           in.channels, h);
  else
    load_tile<Tile>(in.initial ? in.initial + static_cast<int64_t>(b) * in.channels * in.state : nullptr, first,
                    in.channels, in.state, 1, h);

  for (int t0 = begin; t0 < end; t0 += scan_interval) {
    const int steps = min(scan_interval, end - t0);
    const int64_t row = static_cast<int64_t>(b) * in.time + t0;
    load_interval<Element, channels>(in, row, steps, block_first, delta[0], weight[0]);
    load_states_of_interval<Element, N>(in.B, row, steps, in.state, B[0]);
    load_states_of_interval<Element, N>(in.C, row, steps, in.state, C[0]);
    if (in.states)
      store_padded_tile<Tile>(h, first, in.channels,
                              in.states + (static_cast<int64_t>(b) * intervals + t0 / scan_interval) * in.channels * N);
    __syncthreads();
#pragma unroll 1
    for (int k = 0; k < steps; ++k) {
      float d[Tile::channels], w[Tile::channels], y[Tile::channels] = {};
      float Bk[Tile::states], Ck[Tile::states];
      load_vectors(&delta[k][c0], d);
      load_vectors(&weight[k][c0], w);
      load_states<Tile>(B[k], Bk);
      load_states<Tile>(C[k], Ck);
#pragma unroll
      for (int c = 0; c < Tile::channels; ++c)
#pragma unroll
        for (int s = 0; s < Tile::states; ++s) {
          h[c][s] = exp2_fast(d[c] * a[c][s]) * h[c][s] + w[c] * Bk[s];
          y[c] += Ck[s] * h[c][s];
        }
      add_over_lanes<Tile::channels, Tile::lanes, 1>(y);
#pragma unroll
      for (int i = 0; i < (Tile::channels + Tile::lanes - 1) / Tile::lanes; ++i) sums[k][own_sum + i] = y[i];
    }
    __syncthreads();
    store_outputs<Element, channels>(in, row, steps, block_first, sums[0]);
  }
  if (in.final && end == in.time)
    store_tile<Tile>(h, first, in.channels, in.state, in.final + static_cast<int64_t>(b) * in.channels * in.state);
}

// Small work takes small tiles, which make more blocks, then chunks of time.
template <int N>
bool wide_tiles(const ScanShape& shape) {
  return 2 * shape.batch * channel_blocks<WideTile<N>>(shape) >= wanted_blocks;
}

ScanChunks forward_chunks(const ScanShape& shape) {
  ScanChunks chunks{};
  with_padded_state(shape.state, [&](auto state) {
    constexpr int N = decltype(state)::value;
    chunks = wide_tiles<N>(shape)
                 ? scan_chunks(shape, wanted_blocks, wanted_blocks)
                 : scan_chunks(shape, shape.batch * channel_blocks<NarrowTile<N>>(shape), wanted_blocks);
  });
  return chunks;
}

}  // namespace

void check_scan_shape(const ScanShape& shape) {
  const auto refuse = [](const std::string& what) {
    throw std::invalid_argument("selective scan on the GPU: " + what);
  };
  if (shape.batch < 1 || shape.time < 1 || shape.channels < 1 || shape.state < 1) refuse("an empty array");
  if (shape.batch > 65535) refuse("more than 65535 rows");
  if (shape.time > (1 << 24) || shape.channels > (1 << 24)) refuse("more than 2^24 steps or channels");
  padded_state(shape.state);
}

int64_t selective_scan_states_bytes(const ScanShape& shape) {
  check_scan_shape(shape);
  return shape.batch * ceil_div(shape.time, scan_interval) * shape.channels * padded_state(shape.state) *
         static_cast<int64_t>(sizeof(float));
}

int64_t selective_scan_forward_workspace_bytes(const ScanShape& shape) {
  check_scan_shape(shape);
  return scan_carry_floats(shape, forward_chunks(shape)) * static_cast<int64_t>(sizeof(float));
}

template <class Element>
void selective_scan_forward_cuda(const ScanShape& shape, const ScanCudaInputs<Element>& in, Rows<Element> y,
                                 float* states, float* final, void* workspace, cudaStream_t stream) {
  check_scan_shape(shape);
  const ScanChunks chunks = forward_chunks(shape);
  ForwardArguments<Element> arguments{scan_arguments(shape, in, chunks), DeviceRows(y), states, final, nullptr};
  if (chunks.count > 1) {
    float* carries = static_cast<float*>(workspace);
    scan_carries<Element, false>(shape, arguments, carries, stream);
    arguments.carries = carries;
  }
  const auto run = [&](auto tile) {
    using Tile = decltype(tile);
    const dim3 blocks(static_cast<unsigned>(channel_blocks<Tile>(shape)), chunks.count, arguments.batch);
    launch("selective scan", scan_forward<Element, Tile>, blocks, scan_threads, 0, stream, arguments);
  };
  with_padded_state(shape.state, [&](auto state) {
    constexpr int N = decltype(state)::value;
    if (wide_tiles<N>(shape))
      run(WideTile<N>());
    else
      run(NarrowTile<N>());
  });
}

template void selective_scan_forward_cuda<float>(const ScanShape&, const ScanCudaInputs<float>&, Rows<float>, float*,
                                                 float*, void*, cudaStream_t);
template void selective_scan_forward_cuda<__nv_bfloat16>(const ScanShape&, const ScanCudaInputs<__nv_bfloat16>&,
                                                         Rows<__nv_bfloat16>, float*, float*, void*, cudaStream_t);

}  // namespace recite::kernels
