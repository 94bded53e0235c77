// What the scan's CUDA kernels share: how a block's states lie over its threads, and how work is cut.
#pragma once

#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.cuh"
#include "kernels/selective_scan/selective_scan_cuda.h"

namespace recite::kernels {

constexpr int scan_warps = 4, scan_threads = 32 * scan_warps;
constexpr int scan_interval = 16;  // steps between kept states; also what a block loads into shared memory at once

// A thread has the states of `channels` neighbouring channels times `states` of the N: the larger the tile, the fewer
// the reads of shared memory and the exchanges between lanes for each state.
template <int N, int Channels, int States>
struct ScanTile {
  static constexpr int state = N, channels = Channels, states = States;
  static constexpr int lanes = N / States;   // neighbouring lanes share a group of channels
  static constexpr int groups = 32 / lanes;  // of channels in a warp
  static constexpr int block_channels = scan_warps * groups * Channels;
  static_assert(States % 4 == 0 && lanes >= 1 && lanes <= 32 && block_channels % 8 == 0);

  __device__ static int lane() { return threadIdx.x % 32; }
  __device__ static int warp() { return threadIdx.x / 32; }
  // The thread's first channel within the block.
  __device__ static int first_channel() { return (threadIdx.x / lanes) * Channels; }
  // The state that register i holds: vectors of four, so that the lanes of a group read and write contiguous memory.
  __device__ static int state_of(int i) { return i / 4 * 4 * lanes + lane() % lanes * 4 + i % 4; }
};
template <int N>
using NarrowTile = ScanTile<N, N == 256 ? 2 : 4, N == 256 ? 8 : 4>;

template <class Tile>
using TileArray = float[Tile::channels][Tile::states];

// Time of one block: chunk `index` of `count`, each of `steps` (a multiple of scan_interval).
struct ScanChunks {
  int count, steps;
};

template <class Element>
struct ScanArguments {
  int batch, time, channels, state;
  ScanChunks chunks;
  bool softplus;
  Rows<const Element> u, delta, B, C, z, dy;
  const float *A, *D, *delta_bias, *initial;
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int padded_state(int64_t state) {
  for (int padded = 16; padded <= 256; padded *= 2)
    if (state <= padded) return padded;
  throw std::invalid_argument("selective scan on the GPU: " + std::to_string(state) + " states, more than 256");
}

// Calls f(std::integral_constant<int, N rounded up>).
template <class F>
void with_padded_state(int64_t state, const F& f) {
  switch (padded_state(state)) {
    case 16:
      return f(std::integral_constant<int, 16>());
    case 32:
      return f(std::integral_constant<int, 32>());
    case 64:
      return f(std::integral_constant<int, 64>());
    case 128:
      return f(std::integral_constant<int, 128>());
    default:
      return f(std::integral_constant<int, 256>());
  }
}

template <class Tile>
int64_t channel_blocks(const ScanShape& shape) {
  return ceil_div(shape.channels, Tile::block_channels);
}

// Fewer blocks than `few` leave multiprocessors idle: then time is cut into chunks that make `many`, four blocks for
// each multiprocessor of an H100.
constexpr int64_t few_scan_blocks = 200, many_scan_blocks = 528, least_chunk_steps = 4 * scan_interval;
inline ScanChunks cut_time(int64_t time, int64_t count) {
  const int64_t steps = ceil_div(ceil_div(time, count), scan_interval) * scan_interval;
  return {static_cast<int>(ceil_div(time, steps)), static_cast<int>(steps)};
}
inline ScanChunks scan_chunks(const ScanShape& shape, int64_t blocks) {
  int64_t count = 1;
  if (blocks < few_scan_blocks)
    count = std::max<int64_t>(1, std::min(many_scan_blocks / blocks, shape.time / least_chunk_steps));
  return cut_time(shape.time, count);
}

void check_scan_shape(const ScanShape& shape);

template <class Element>
ScanArguments<Element> scan_arguments(const ScanShape& shape, const ScanCudaInputs<Element>& in, ScanChunks chunks) {
  ScanArguments<Element> arguments{};
  arguments.batch = static_cast<int>(shape.batch), arguments.time = static_cast<int>(shape.time);
  arguments.channels = static_cast<int>(shape.channels), arguments.state = static_cast<int>(shape.state);
  arguments.chunks = chunks, arguments.softplus = in.softplus;
  arguments.u = in.u, arguments.delta = in.delta, arguments.B = in.B, arguments.C = in.C, arguments.z = in.z;
  arguments.A = in.A, arguments.D = in.D, arguments.delta_bias = in.delta_bias, arguments.initial = in.initial;
  return arguments;
}

// max(x, 0) + log(1 + e). The polynomial is log(1 + e) / e on 0 <= e <= 1, to 3e-8 of it: small steps keep their
// digits, and it needs neither logarithm nor reciprocal.
__device__ inline float softplus(float x) {
  constexpr float coefficients[] = {-0.02950522676f, 0.07822593302f, -0.1366324425f, 0.1910600662f,
                                    -0.2484298199f,  0.3331909776f,  -0.4999949336f, 0.9999999404f};
  const float e = exp2_fast(-log2_e * fabsf(x));
  float series = 0.005232691299f;
#pragma unroll
  for (const float coefficient : coefficients) series = series * e + coefficient;
  return fmaxf(x, 0) + e * series;
}

// Adds each of v[0..V) over the `Lanes` lanes that differ in the bits from `Step` on. Lanes share the V sums: each ends
// with V / Lanes of them, at least one, from number first_sum on, in v[0], v[1]...
template <int V, int Lanes, int Step>
__device__ void add_over_lanes(float (&v)[V]) {
  int n = V;
#pragma unroll
  for (int mask = Step * Lanes / 2; mask >= Step; mask /= 2) {
    if (n > 1) {
      n /= 2;
      const bool high = threadIdx.x & mask;
#pragma unroll
      for (int i = 0; i < V / 2; ++i) {  // a constant bound: else many sums end up in local memory
        if (i >= n) break;
        const float sent = high ? v[i] : v[i + n], kept = high ? v[i + n] : v[i];
        v[i] = kept + __shfl_xor_sync(0xffffffffu, sent, mask);
      }
    } else {
      v[0] += __shfl_xor_sync(0xffffffffu, v[0], mask);
    }
  }
}
template <int V, int Lanes, int Step>
__device__ int first_sum() {
  int n = V, first = 0;
#pragma unroll
  for (int mask = Step * Lanes / 2; mask >= Step && n > 1; mask /= 2) {
    n /= 2;
    if (threadIdx.x & mask) first += n;
  }
  return first;
}

template <int Size>
__device__ void load_vectors(const float* from, float (&to)[Size]) {
  static_assert(Size == 2 || Size == 4);
  if constexpr (Size == 4) {
    const float4 v = *reinterpret_cast<const float4*>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  } else {
    const float2 v = *reinterpret_cast<const float2*>(from);
    to[0] = v.x, to[1] = v.y;
  }
}

// The thread's states of a row of N numbers in shared memory.
template <class Tile>
__device__ void load_states(const float* row, float (&to)[Tile::states]) {
#pragma unroll
  for (int i = 0; i < Tile::states; i += 4) {
    const float4 v = *reinterpret_cast<const float4*>(row + Tile::state_of(i));
    to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
  }
}

// The thread's part of (channels, `state`) numbers, zero outside.
template <class Tile>
__device__ void load_tile(const float* from, int first, int channels, int state, float scale, TileArray<Tile>& to) {
#pragma unroll
  for (int c = 0; c < Tile::channels; ++c)
#pragma unroll
    for (int i = 0; i < Tile::states; ++i) {
      const int d = first + c, n = Tile::state_of(i);
      to[c][i] = from && d < channels && n < state ? scale * from[static_cast<int64_t>(d) * state + n] : 0;
    }
}
template <class Tile>
__device__ void store_tile(const TileArray<Tile>& from, int first, int channels, int state, float* to) {
#pragma unroll
  for (int c = 0; c < Tile::channels; ++c)
#pragma unroll
    for (int i = 0; i < Tile::states; ++i) {
      const int d = first + c, n = Tile::state_of(i);
      if (d < channels && n < state) to[static_cast<int64_t>(d) * state + n] = from[c][i];
    }
}
// The same for (channels, N rounded up), four states at a time.
template <class Tile>
__device__ void load_padded_tile(const float* from, int first, int channels, TileArray<Tile>& to) {
#pragma unroll
  for (int c = 0; c < Tile::channels; ++c)
#pragma unroll
    for (int i = 0; i < Tile::states; i += 4) {
      float4 v = make_float4(0, 0, 0, 0);
      if (first + c < channels)
        v = *reinterpret_cast<const float4*>(from + static_cast<int64_t>(first + c) * Tile::state + Tile::state_of(i));
      to[c][i] = v.x, to[c][i + 1] = v.y, to[c][i + 2] = v.z, to[c][i + 3] = v.w;
    }
}
template <class Tile>
__device__ void store_padded_tile(const TileArray<Tile>& from, int first, int channels, float* to) {
#pragma unroll
  for (int c = 0; c < Tile::channels; ++c)
#pragma unroll
    for (int i = 0; i < Tile::states; i += 4)
      if (first + c < channels)
        *reinterpret_cast<float4*>(to + static_cast<int64_t>(first + c) * Tile::state + Tile::state_of(i)) =
            make_float4(from[c][i], from[c][i + 1], from[c][i + 2], from[c][i + 3]);
}

// Whether the kernels may use vectors alone.
template <class Element>
bool is_aligned(const ScanArguments<Element>& in) {
  return in.channels % 8 == 0 && in.state == padded_state(in.state) && is_aligned(in.u) && is_aligned(in.delta) &&
         is_aligned(in.B) && is_aligned(in.C) && is_aligned(in.z) && is_aligned(in.dy);
}

// The vectors of `Size` channels of an interval that a thread loads and stores: number i of `count`. Steps and channels
// outside are read inside, at the nearest, so that no branch stands between loads, which are then under way together.
template <class Tile, int Size = 8>
struct IntervalVector {
  static constexpr int size = Size, vectors = Tile::block_channels / Size, all = scan_interval * vectors;
  static constexpr int count = (all + scan_threads - 1) / scan_threads;

  __device__ IntervalVector(int i, int steps, int block_first, int channels)
      : step((threadIdx.x + i * scan_threads) / vectors),
        channel((threadIdx.x + i * scan_threads) % vectors * Size),
        at(step * Tile::block_channels + channel),
        column(min(block_first + channel, max(channels - Size, 0))),
        row(min(step, steps - 1)),
        exists(all % scan_threads == 0 || step < scan_interval),
        valid(step < steps && block_first + channel < channels) {}

  const int step, channel, at;  // within the interval and the block
  const int column, row;        // to load from
  const bool exists, valid;
};

// The same for rows of B and C: vectors of an interval's states. Steps outside repeat the last: what they are
// multiplied with is 0.
template <class Tile>
struct StateVector {
  static constexpr int size = Tile::state <= 32 ? 4 : 8, vectors = Tile::state / size, all = scan_interval * vectors;
  static constexpr int count = (all + scan_threads - 1) / scan_threads;

  __device__ explicit StateVector(int i)
      : step((threadIdx.x + i * scan_threads) / vectors),
        state((threadIdx.x + i * scan_threads) % vectors * size),
        exists(all % scan_threads == 0 || step < scan_interval) {}

  const int step, state;
  const bool exists;
};

// Rows of B, of C or of both into shared memory [scan_interval][N]; steps outside repeat the last: what they are
// multiplied with is 0.
template <bool Aligned, int N, int Count, class Element>
__device__ void load_states_of_interval(const Rows<const Element> (&from)[Count], int64_t row, int steps, int state,
                                        float* const (&to)[Count]) {
  constexpr int each = scan_interval * N / 8;
#pragma unroll
  for (int i = 0; i < (Count * each + scan_threads - 1) / scan_threads; ++i) {
    const int j = threadIdx.x + i * scan_threads, which = j / each, k = j % each / (N / 8), n = j % (N / 8) * 8;
    if (which >= Count) break;
    float v[8];
    load<Aligned>(from[Count == 1 ? 0 : which], row + min(k, steps - 1), n, state, v);
    pack(v, to[Count == 1 ? 0 : which] + k * N + n);
  }
}

// A block's numbers of D or delta_bias into shared memory, zeros where there are none.
template <int Channels>
__device__ void load_parameters(const float* from, int block_first, int channels, float (&to)[Channels]) {
  for (int c = threadIdx.x; c < Channels; c += scan_threads)
    to[c] = from && block_first + c < channels ? from[block_first + c] : 0;
}

// delta' from delta. One branch for all: between them, each softplus would wait for the one before.
template <int Size>
__device__ void make_steps(bool with_softplus, const float* bias, float (&delta)[Size]) {
  float b[Size];
  unpack(bias, b);
#pragma unroll
  for (int i = 0; i < Size; ++i) delta[i] += b[i];
  if (!with_softplus) return;
#pragma unroll
  for (int i = 0; i < Size; ++i) delta[i] = softplus(delta[i]);
}

// g silu(z).
template <int Size>
__device__ void multiply_gate(const float (&z)[Size], float (&g)[Size]) {
#pragma unroll
  for (int i = 0; i < Size; ++i) g[i] *= z[i] * sigmoid(z[i]);
}

}  // namespace recite::kernels
