#include "kernels/selective_scan/scan_carry_cuda.h"

namespace recite::kernels {
namespace {

// The sums over states of `together` steps are exchanged between lanes at once.
template <int N, int States>
struct ForwardTile : ScanTile<N, 2, States> {
  static constexpr int together = 4;
};
static_assert(scan_interval % ForwardTile<16, 4>::together == 0);

// Calls f with the tile for a shape: with 32 states, the smaller one where it makes the blocks that fill a GPU.
template <class F>
void with_forward_tile(const ScanShape& shape, const F& f) {
  with_padded_state(shape.state, [&](auto state) {
    constexpr int N = decltype(state)::value;
    using Tile = ForwardTile<N, N == 16 ? 4 : 8>;
    if constexpr (N == 32) {
      if (shape.batch * channel_blocks<Tile>(shape) < many_scan_blocks) return f(ForwardTile<N, 4>());
    }
    f(Tile());
  });
}

// Each of the two passes takes all chunks but one: two would be taken one after the other. As many blocks as run at
// once, five on each multiprocessor of an H100.
ScanChunks forward_chunks(const ScanShape& shape) {
  int64_t count = 1;
  with_forward_tile(shape, [&](auto tile) {
    const int64_t blocks = shape.batch * channel_blocks<decltype(tile)>(shape);
    if (blocks < few_scan_blocks) count = std::min(1 + 5 * 132 / blocks, shape.time / least_chunk_steps);
  });
  return cut_time(shape.time, count < 3 ? 1 : count);
}

template <class Element>
struct ForwardArguments : ScanArguments<Element> {
  Rows<Element> y;
  float *states, *final;
  float *carries, *sums;  // for the chunks after the first
  int first_chunk;        // of the launch
};

template <class Element, class Tile>
struct ForwardShared {
  static constexpr int channels = Tile::block_channels, threads_each = scan_interval * channels / scan_threads;
  using Vector = IntervalVector<Tile, (threads_each < 8) ? 4 : 8>;
  using States = StateVector<Tile>;
  using Vectors = Element[Vector::count][scan_threads][Vector::size];
  using StateVectors = Element[States::count][scan_threads][States::size];

  float delta[scan_interval][channels], weight[scan_interval][channels];  // delta', delta' u
  float sums[scan_interval][channels];                                    // over states: y without D and gate
  float B[scan_interval][Tile::state], C[scan_interval][Tile::state];
  float D[channels], bias[channels];
  // The next interval's numbers: a thread copies those that it will take itself. u and z are wanted until y is written.
  alignas(16) Vectors next_delta, u[2], z[2];
  StateVectors next_B, next_C;
};

template <bool Outputs, bool Aligned, class Element, class Tile>
__device__ void ask_for_interval(const ForwardArguments<Element>& in, int64_t row, int steps, int block_first, int turn,
                                 ForwardShared<Element, Tile>& shared) {
  using Vector = typename ForwardShared<Element, Tile>::Vector;
  using States = typename ForwardShared<Element, Tile>::States;
  const int thread = threadIdx.x;
#pragma unroll
  for (int i = 0; i < Vector::count; ++i) {
    const Vector v(i, steps, block_first, in.channels);
    const int column = Aligned ? v.column : block_first + v.channel;
    if (!v.exists) break;
    copy_ahead<Aligned>(in.u, row + v.row, column, in.channels, shared.u[turn][i][thread]);
    copy_ahead<Aligned>(in.delta, row + v.row, column, in.channels, shared.next_delta[i][thread]);
    if (Outputs && in.z.data) copy_ahead<Aligned>(in.z, row + v.row, column, in.channels, shared.z[turn][i][thread]);
  }
#pragma unroll
  for (int i = 0; i < States::count; ++i) {
    const States v(i);
    if (!v.exists) break;
    const int64_t from = row + min(v.step, steps - 1);
    copy_ahead<Aligned>(in.B, from, v.state, in.state, shared.next_B[i][thread]);
    if (Outputs) copy_ahead<Aligned>(in.C, from, v.state, in.state, shared.next_C[i][thread]);
  }
}

// What was asked for, as the steps take it. A step outside changes nothing.
template <bool Outputs, class Element, class Tile>
__device__ void take_interval(const ForwardArguments<Element>& in, int steps, int block_first, int turn,
                              ForwardShared<Element, Tile>& shared) {
  using Vector = typename ForwardShared<Element, Tile>::Vector;
  using States = typename ForwardShared<Element, Tile>::States;
  const int thread = threadIdx.x;
  await_copies();
#pragma unroll
  for (int i = 0; i < Vector::count; ++i) {
    const Vector v(i, steps, block_first, in.channels);
    if (!v.exists) break;
    float d[Vector::size], w[Vector::size];
    unpack(shared.next_delta[i][thread], d);
    unpack(shared.u[turn][i][thread], w);
    make_steps(in.softplus, shared.bias + v.channel, d);
#pragma unroll
    for (int e = 0; e < Vector::size; ++e) {
      d[e] = v.valid ? d[e] : 0;
      w[e] *= d[e];
    }
    pack(d, &shared.delta[0][v.at]);
    pack(w, &shared.weight[0][v.at]);
  }
#pragma unroll
  for (int i = 0; i < States::count; ++i) {
    const States v(i);
    if (!v.exists) break;
    float numbers[States::size];
    unpack(shared.next_B[i][thread], numbers);
    pack(numbers, &shared.B[v.step][v.state]);
    if (!Outputs) continue;
    unpack(shared.next_C[i][thread], numbers);
    pack(numbers, &shared.C[v.step][v.state]);
  }
}

// The steps of an interval; without outputs, also the sums of delta'.
template <bool Outputs, class Element, class Tile>
__device__ void take_steps(ForwardShared<Element, Tile>& shared, int steps, const TileArray<Tile>& a,
                           TileArray<Tile>& h, float (&delta_sums)[Tile::channels]) {
  constexpr int channels = Tile::channels, lanes = Tile::lanes, together = Tile::together;
  const int c0 = Tile::first_channel(), own = first_sum<together * channels, lanes, 1>();
#pragma unroll 1
  for (int k0 = 0; k0 < steps; k0 += together) {
    float y[together * channels] = {};
#pragma unroll
    for (int k = 0; k < together; ++k) {
      float d[channels], w[channels], Bk[Tile::states], Ck[Tile::states];
      load_vectors(&shared.delta[k0 + k][c0], d);
      load_vectors(&shared.weight[k0 + k][c0], w);
      load_states<Tile>(shared.B[k0 + k], Bk);
      if (Outputs) load_states<Tile>(shared.C[k0 + k], Ck);
#pragma unroll
      for (int c = 0; c < channels; ++c) {
        if (!Outputs) delta_sums[c] += d[c];
#pragma unroll
        for (int s = 0; s < Tile::states; ++s) {
          h[c][s] = exp2_fast(d[c] * a[c][s]) * h[c][s] + w[c] * Bk[s];
          if (Outputs) y[k * channels + c] += Ck[s] * h[c][s];
        }
      }
    }
    if (!Outputs) continue;
    add_over_lanes<together * channels, lanes, 1>(y);
    float* to = &shared.sums[k0 + own / channels][c0 + own % channels];
#pragma unroll
    for (int i = 0; i < (together * channels + lanes - 1) / lanes; ++i)
      to[i / channels * Tile::block_channels + i % channels] = y[i];
  }
}

// y of an interval's steps, from its sums over states.
template <bool Aligned, class Element, class Tile>
__device__ void store_outputs(const ForwardArguments<Element>& in, int64_t row, int steps, int block_first, int turn,
                              const ForwardShared<Element, Tile>& shared) {
  using Vector = typename ForwardShared<Element, Tile>::Vector;
#pragma unroll
  for (int i = 0; i < Vector::count; ++i) {
    const Vector v(i, steps, block_first, in.channels);
    if (!v.exists || !v.valid) continue;
    float y[Vector::size], D[Vector::size], x[Vector::size];
    unpack(&shared.sums[0][v.at], y);
    unpack(shared.D + v.channel, D);
    unpack(shared.u[turn][i][threadIdx.x], x);
#pragma unroll
    for (int e = 0; e < Vector::size; ++e) y[e] += D[e] * x[e];
    if (in.z.data) {
      unpack(shared.z[turn][i][threadIdx.x], x);
      multiply_gate(x, y);
    }
    store<Aligned>(in.y, row + v.step, block_first + v.channel, in.channels, y);
  }
}

// A block's part of a chunk: with outputs, the scan from its carry; without, what it adds to a zero carry. Ahead:
// leaves the next chunk's.
template <bool Ahead, bool Outputs, bool Aligned, class Element, class Tile>
__device__ void scan_chunk(const ForwardArguments<Element>& in, int chunk, ForwardShared<Element, Tile>& shared) {
  constexpr int N = Tile::state;
  const int b = blockIdx.z, begin = chunk * in.chunks.steps, end = min(in.time, begin + in.chunks.steps);
  const int block_first = blockIdx.x * Tile::block_channels, first = block_first + Tile::first_channel();
  const int intervals = (in.time + scan_interval - 1) / scan_interval;
  const int64_t first_row = static_cast<int64_t>(b) * in.time;
  const auto ask = [&](int t0, int turn) {
    ask_for_interval<Outputs, Aligned>(in, first_row + t0, min(scan_interval, end - t0), block_first, turn, shared);
  };
  ask(begin, 0);
  TileArray<Tile> a, h = {};
  float delta_sums[Tile::channels] = {};
  load_tile<Tile>(in.A, first, in.channels, in.state, log2_e, a);
  const int64_t carry = (static_cast<int64_t>(b) * in.chunks.count + chunk) * in.channels;
  if (Outputs && chunk > 0)
    load_padded_tile<Tile>(in.carries + carry * N, first, in.channels, h);
  else if (Outputs && in.initial)
    load_tile<Tile>(in.initial + static_cast<int64_t>(b) * in.channels * in.state, first, in.channels, in.state, 1, h);
  load_parameters(in.D, block_first, in.channels, shared.D);
  load_parameters(in.delta_bias, block_first, in.channels, shared.bias);
  __syncthreads();

  int turn = 0;
  for (int t0 = begin; t0 < end; t0 += scan_interval, turn ^= 1) {
    const int steps = min(scan_interval, end - t0);
    take_interval<Outputs>(in, steps, block_first, turn, shared);
    __syncthreads();
    if (t0 + scan_interval < end) ask(t0 + scan_interval, turn ^ 1);
    if (Outputs && in.states)
      store_padded_tile<Tile>(h, first, in.channels,
                              in.states + (static_cast<int64_t>(b) * intervals + t0 / scan_interval) * in.channels * N);
    take_steps<Outputs>(shared, steps, a, h, delta_sums);
    __syncthreads();
    if (Outputs) store_outputs<Aligned>(in, first_row + t0, steps, block_first, turn, shared);
  }

  if (Ahead) {
    store_padded_tile<Tile>(h, first, in.channels, in.carries + (carry + in.channels) * N);
    if (!Outputs && Tile::lane() % Tile::lanes == 0)
#pragma unroll
      for (int c = 0; c < Tile::channels; ++c)
        if (first + c < in.channels) in.sums[carry + in.channels + first + c] = delta_sums[c];
  } else if (in.final && end == in.time) {
    store_tile<Tile>(h, first, in.channels, in.state, in.final + static_cast<int64_t>(b) * in.channels * in.state);
  }
}

template <class Element, class Tile, bool Aligned, bool Ahead>
__global__ __launch_bounds__(scan_threads, 4) void scan_forward(ForwardArguments<Element> in) {
  extern __shared__ float4 memory[];
  auto& shared = *reinterpret_cast<ForwardShared<Element, Tile>*>(memory);
  const int chunk = in.first_chunk + blockIdx.y;
  if constexpr (Ahead) {
    if (chunk > 0) return scan_chunk<true, false, Aligned>(in, chunk, shared);
  }
  scan_chunk<Ahead, true, Aligned>(in, chunk, shared);
}

template <bool Ahead, class Tile, class Element>
void launch_forward(const ScanShape& shape, const ForwardArguments<Element>& in, int chunks, cudaStream_t stream) {
  const dim3 blocks(static_cast<unsigned>(channel_blocks<Tile>(shape)), chunks, in.batch);
  const auto kernel = is_aligned(in) && is_aligned(in.y) ? scan_forward<Element, Tile, true, Ahead>
                                                         : scan_forward<Element, Tile, false, Ahead>;
  launch("selective scan", kernel, blocks, scan_threads, sizeof(ForwardShared<Element, Tile>), stream, in);
}

// Chunks take two passes. The first scans chunk 0 and adds up what the others but the last add to a zero carry; the
// second scans those after chunk 0.
template <class Tile, class Element>
void run_forward(const ScanShape& shape, ForwardArguments<Element> in, cudaStream_t stream) {
  if (in.chunks.count > 1) {
    launch_forward<true, Tile>(shape, in, in.chunks.count - 1, stream);
    add_carries<false>(shape, in, in.carries, stream);
    in.first_chunk = 1;
  }
  launch_forward<false, Tile>(shape, in, in.chunks.count - in.first_chunk, stream);
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
  float* carries = static_cast<float*>(workspace);
  const ForwardArguments<Element> arguments{scan_arguments(shape, in, chunks),       y, states, final, carries,
                                            scan_carry_sums(shape, chunks, carries), 0};
  with_forward_tile(shape, [&](auto tile) { run_forward<decltype(tile)>(shape, arguments, stream); });
}

template void selective_scan_forward_cuda<float>(const ScanShape&, const ScanCudaInputs<float>&, Rows<float>, float*,
                                                 float*, void*, cudaStream_t);
template void selective_scan_forward_cuda<__nv_bfloat16>(const ScanShape&, const ScanCudaInputs<__nv_bfloat16>&,
                                                         Rows<__nv_bfloat16>, float*, float*, void*, cudaStream_t);

}  // namespace recite::kernels
