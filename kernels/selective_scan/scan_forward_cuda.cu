#include "kernels/selective_scan/scan_carry_cuda.h"

namespace recite::kernels {
namespace {

template <class Element>
struct ForwardArguments : ScanArguments<Element> {
  Rows<Element> y;
  float *states, *final;
  const float* carries;
};

template <class Tile>
struct ForwardShared {
  static constexpr int channels = Tile::block_channels;
  float delta[scan_interval][channels], weight[scan_interval][channels];  // delta', delta' u
  float sums[scan_interval][channels];                                    // over states: y without D and gate
  float B[scan_interval][Tile::state], C[scan_interval][Tile::state];
  float D[channels], bias[channels];
};

// float32 vectors take twice the registers while they are under way.
template <class Element, class Tile>
constexpr int vectors_at_once = sizeof(Element) == 2 ? IntervalVector<Tile>::count : 1;

template <bool Aligned, class Element, class Tile>
__device__ void load_interval(const ForwardArguments<Element>& in, int64_t row, int steps, int block_first,
                              ForwardShared<Tile>& shared) {
  using Vector = IntervalVector<Tile>;
  constexpr int batch = vectors_at_once<Element, Tile>;
#pragma unroll
  for (int first = 0; first < Vector::count; first += batch) {
    float d[batch][8], u[batch][8];
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const Vector v(first + i, steps, block_first, in.channels);
      const int column = Aligned ? v.column : block_first + v.channel;
      load<Aligned>(in.u, row + v.row, column, in.channels, u[i]);
      load<Aligned>(in.delta, row + v.row, column, in.channels, d[i]);
    }
    if (first == 0)
      load_states_of_interval<Aligned, Tile::state, 2>({in.B, in.C}, row, steps, in.state, {shared.B[0], shared.C[0]});
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const Vector v(first + i, steps, block_first, in.channels);
      if (!v.exists) break;
      make_steps(in.softplus, shared.bias + v.channel, d[i]);
#pragma unroll
      for (int e = 0; e < 8; ++e) u[i][e] *= d[i][e];
      pack(d[i], &shared.delta[0][v.at]);
      pack(u[i], &shared.weight[0][v.at]);
    }
  }
}

// What the block will read for the interval of `row`.
template <class Tile, class Element>
__device__ void prefetch_interval(const ForwardArguments<Element>& in, int64_t row, int steps, int block_first) {
  constexpr int vectors = Tile::block_channels / 8;
  for (int j = threadIdx.x; j < scan_interval * vectors; j += scan_threads) {
    const int k = j / vectors, column = block_first + j % vectors * 8;
    if (k >= steps || column >= in.channels) continue;
    prefetch(in.u, row + k, column);
    prefetch(in.delta, row + k, column);
    if (in.z.data) prefetch(in.z, row + k, column);
  }
}

// y of an interval's steps, from its sums over states.
template <bool Aligned, class Element, class Tile>
__device__ void store_outputs(const ForwardArguments<Element>& in, int64_t row, int steps, int block_first,
                              const ForwardShared<Tile>& shared) {
  using Vector = IntervalVector<Tile>;
  constexpr int batch = vectors_at_once<Element, Tile>;
  const Rows<const Element>& gate = in.z.data ? in.z : in.u;
#pragma unroll
  for (int first = 0; first < Vector::count; first += batch) {
    float u[batch][8], z[batch][8];
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const Vector v(first + i, steps, block_first, in.channels);
      const int column = Aligned ? v.column : block_first + v.channel;
      load<Aligned>(in.u, row + v.row, column, in.channels, u[i]);
      load<Aligned>(gate, row + v.row, column, in.channels, z[i]);
    }
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const Vector v(first + i, steps, block_first, in.channels);
      if (!v.exists || !v.valid) continue;
      float y[8], D[8];
      unpack(&shared.sums[0][v.at], y);
      unpack(shared.D + v.channel, D);
#pragma unroll
      for (int e = 0; e < 8; ++e) y[e] += D[e] * u[i][e];
      if (in.z.data) multiply_gate(z[i], y);
      store<Aligned>(in.y, row + v.step, block_first + v.channel, in.channels, y);
    }
  }
}

template <class Element, class Tile, bool Aligned>
__global__ __launch_bounds__(scan_threads, 4) void scan_forward(ForwardArguments<Element> in) {
  constexpr int N = Tile::state;
  extern __shared__ float4 memory[];
  auto& shared = *reinterpret_cast<ForwardShared<Tile>*>(memory);

  const int chunk = blockIdx.y, b = blockIdx.z;
  const int begin = chunk * in.chunks.steps, end = min(in.time, begin + in.chunks.steps);
  const int block_first = blockIdx.x * Tile::block_channels, c0 = Tile::first_channel(), first = block_first + c0;
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
  load_parameters(in.D, block_first, in.channels, shared.D);
  load_parameters(in.delta_bias, block_first, in.channels, shared.bias);
  __syncthreads();

  for (int t0 = begin; t0 < end; t0 += scan_interval) {
    const int steps = min(scan_interval, end - t0);
    const int64_t row = static_cast<int64_t>(b) * in.time + t0;
    load_interval<Aligned>(in, row, steps, block_first, shared);
    prefetch_interval<Tile>(in, row + scan_interval, end - t0 - scan_interval, block_first);
    if (in.states)
      store_padded_tile<Tile>(h, first, in.channels,
                              in.states + (static_cast<int64_t>(b) * intervals + t0 / scan_interval) * in.channels * N);
    __syncthreads();
#pragma unroll 1
    for (int k = 0; k < steps; ++k) {
      float d[Tile::channels], w[Tile::channels], y[Tile::channels] = {};
      float Bk[Tile::states], Ck[Tile::states];
      load_vectors(&shared.delta[k][c0], d);
      load_vectors(&shared.weight[k][c0], w);
      load_states<Tile>(shared.B[k], Bk);
      load_states<Tile>(shared.C[k], Ck);
#pragma unroll
      for (int c = 0; c < Tile::channels; ++c)
#pragma unroll
        for (int s = 0; s < Tile::states; ++s) {
          h[c][s] = exp2_fast(d[c] * a[c][s]) * h[c][s] + w[c] * Bk[s];
          y[c] += Ck[s] * h[c][s];
        }
      add_over_lanes<Tile::channels, Tile::lanes, 1>(y);
#pragma unroll
      for (int i = 0; i < (Tile::channels + Tile::lanes - 1) / Tile::lanes; ++i) shared.sums[k][own_sum + i] = y[i];
    }
    __syncthreads();
    store_outputs<Aligned>(in, row, steps, block_first, shared);
  }
  if (in.final && end == in.time)
    store_tile<Tile>(h, first, in.channels, in.state, in.final + static_cast<int64_t>(b) * in.channels * in.state);
}

// Small work takes small tiles, which make more blocks, then chunks of time.
template <int N>
bool wide_tiles(const ScanShape& shape) {
  return shape.batch * channel_blocks<WideTile<N>>(shape) >= 264;  // two for each multiprocessor of an H100
}

ScanChunks forward_chunks(const ScanShape& shape) {
  ScanChunks chunks{};
  with_padded_state(shape.state, [&](auto state) {
    constexpr int N = decltype(state)::value;
    chunks = scan_chunks(shape, shape.batch * (wide_tiles<N>(shape) ? channel_blocks<WideTile<N>>(shape)
                                                                    : channel_blocks<NarrowTile<N>>(shape)));
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
  ForwardArguments<Element> arguments{scan_arguments(shape, in, chunks), y, states, final, nullptr};
  if (chunks.count > 1) {
    float* carries = static_cast<float*>(workspace);
    scan_carries<Element, false>(shape, arguments, carries, stream);
    arguments.carries = carries;
  }
  const auto run = [&](auto tile) {
    using Tile = decltype(tile);
    const dim3 blocks(static_cast<unsigned>(channel_blocks<Tile>(shape)), chunks.count, arguments.batch);
    const auto kernel =
        is_aligned(arguments) && is_aligned(y) ? scan_forward<Element, Tile, true> : scan_forward<Element, Tile, false>;
    launch("selective scan", kernel, blocks, scan_threads, sizeof(ForwardShared<Tile>), stream, arguments);
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
