// The parts of the backward kernel: what a block does in an interval.
#pragma once

#include "kernels/selective_scan/scan_cuda.cuh"

namespace recite::kernels {

constexpr int sub_steps = 4;  // whose states and decays are in registers
constexpr int subs = scan_interval / sub_steps;

// Where blocks leave their shares of the sums that other blocks add to.
struct Partials {
  float* states;      // (B, T, channel blocks, 2 N rounded up): of dB, then of dC
  float* parameters;  // (B, chunks, D N + 2 D): of dA, dD, d_delta_bias
};

template <class Element>
struct BackwardArguments : ScanArguments<Element> {
  const float *states, *carries;
  Rows<Element> du, ddelta, dz;
  Partials partials;
};

// Shared memory of a block, in order.
template <class Tile>
struct BackwardShared {
  static constexpr int interval = scan_interval * Tile::block_channels;
  float delta[interval], weight[interval], gradient[interval];  // delta', delta' u, dy silu(z)
  float du[interval], ddelta[interval], y[interval];            // sums over states
  float B[scan_interval][Tile::state], C[scan_interval][Tile::state];
  float states[scan_warps][scan_interval][2 * Tile::state];  // sums over a warp's channels: dB, dC
  float4 kept[subs - 1][Tile::channels * Tile::states / 4][scan_threads];
  float D[Tile::block_channels], bias[Tile::block_channels];
  float sums[2][8][scan_threads];  // of D and delta_bias, over the steps that a thread loads
};

template <class Tile>
__device__ void advance(const BackwardShared<Tile>& shared, int k, const TileArray<Tile>& a, const TileArray<Tile>& h,
                        TileArray<Tile>& decay, TileArray<Tile>& next) {
  const int c0 = Tile::first_channel();
  float d[Tile::channels], w[Tile::channels], Bk[Tile::states];
  load_vectors(shared.delta + k * Tile::block_channels + c0, d);
  load_vectors(shared.weight + k * Tile::block_channels + c0, w);
  load_states<Tile>(shared.B[k], Bk);
#pragma unroll
  for (int c = 0; c < Tile::channels; ++c)
#pragma unroll
    for (int s = 0; s < Tile::states; ++s) {
      decay[c][s] = exp2_fast(d[c] * a[c][s]);
      next[c][s] = decay[c][s] * h[c][s] + w[c] * Bk[s];
    }
}

// Step k in reverse. `before` is the state before it, or null: then decay * before = h - weight B stands for it.
template <class Tile>
__device__ void reverse(BackwardShared<Tile>& shared, int k, const TileArray<Tile>& a, const TileArray<Tile>& decay,
                        const TileArray<Tile>& h, const TileArray<Tile>* before, TileArray<Tile>& dh,
                        TileArray<Tile>& dA) {
  constexpr int channels = Tile::channels, states = Tile::states;
  const int c0 = Tile::first_channel(), row = k * Tile::block_channels;
  float d[channels], w[channels], g[channels], Bk[states], Ck[states];
  load_vectors(shared.delta + row + c0, d);
  load_vectors(shared.weight + row + c0, w);
  load_vectors(shared.gradient + row + c0, g);
  load_states<Tile>(shared.B[k], Bk);
  load_states<Tile>(shared.C[k], Ck);
  float over_states[2 * channels] = {}, y[channels] = {}, over_channels[2 * states] = {};
#pragma unroll
  for (int c = 0; c < channels; ++c)
#pragma unroll
    for (int s = 0; s < states; ++s) {
      over_channels[states + s] += g[c] * h[c][s];
      y[c] += Ck[s] * h[c][s];
      const float gradient = dh[c][s] + g[c] * Ck[s];
      over_channels[s] += gradient * w[c];
      over_states[c] += gradient * Bk[s];
      dh[c][s] = gradient * decay[c][s];
      const float share = before ? dh[c][s] * (*before)[c][s] : gradient * (h[c][s] - w[c] * Bk[s]);
      over_states[channels + c] += share * a[c][s];
      dA[c][s] += share * d[c];
    }

  add_over_lanes<2 * channels, Tile::lanes, 1>(over_states);
  const int sum = first_sum<2 * channels, Tile::lanes, 1>();
  float* to = (sum < channels ? shared.du + sum : shared.ddelta + sum - channels) + row + c0;
#pragma unroll
  for (int i = 0; i < (2 * channels + Tile::lanes - 1) / Tile::lanes; ++i) to[i] = over_states[i];

  add_over_lanes<channels, Tile::lanes, 1>(y);
#pragma unroll
  for (int i = 0; i < (channels + Tile::lanes - 1) / Tile::lanes; ++i)
    shared.y[row + c0 + first_sum<channels, Tile::lanes, 1>() + i] = y[i];

  add_over_lanes<2 * states, Tile::groups, Tile::lanes>(over_channels);
  const int first = first_sum<2 * states, Tile::groups, Tile::lanes>();
#pragma unroll
  for (int i = 0; i < (2 * states + Tile::groups - 1) / Tile::groups; ++i)
    shared.states[Tile::warp()][k][(first + i) / states * Tile::state + Tile::state_of((first + i) % states)] =
        over_channels[i];
}

template <bool Aligned, class Element, class Tile>
__device__ void load_interval(const BackwardArguments<Element>& in, int64_t row, int steps, int block_first,
                              BackwardShared<Tile>& shared) {
  using Vector = IntervalVector<Tile>;
  float d[Vector::count][8], u[Vector::count][8], g[Vector::count][8], z[Vector::count][8];
  const Rows<const Element>& gate = in.z.data ? in.z : in.u;
#pragma unroll
  for (int i = 0; i < Vector::count; ++i) {
    const Vector v(i, steps, block_first, in.channels);
    const int column = Aligned ? v.column : block_first + v.channel;
    load<Aligned>(in.u, row + v.row, column, in.channels, u[i]);
    load<Aligned>(in.delta, row + v.row, column, in.channels, d[i]);
    load<Aligned>(in.dy, row + v.row, column, in.channels, g[i]);
    load<Aligned>(gate, row + v.row, column, in.channels, z[i]);
  }
  load_states_of_interval<Aligned, Tile::state, 2>({in.B, in.C}, row, steps, in.state, {shared.B[0], shared.C[0]});
#pragma unroll
  for (int i = 0; i < Vector::count; ++i) {
    const Vector v(i, steps, block_first, in.channels);
    if (!v.exists) break;
    make_steps(in.softplus, shared.bias + v.channel, d[i]);
    if (in.z.data) multiply_gate(z[i], g[i]);
#pragma unroll
    for (int e = 0; e < 8; ++e) {  // outside: a step that changes nothing
      d[i][e] = v.valid ? d[i][e] : 0;
      g[i][e] = v.valid ? g[i][e] : 0;
      u[i][e] *= d[i][e];
    }
    pack(d[i], shared.delta + v.at);
    pack(u[i], shared.weight + v.at);
    pack(g[i], shared.gradient + v.at);
  }
}

// What the block will read for the full interval of `row`, whose kept states are `states`.
template <class Tile, class Element>
__device__ void prefetch_interval(const BackwardArguments<Element>& in, int64_t row, const float* states,
                                  int block_first) {
  constexpr int vectors = Tile::block_channels / 8;
  for (int j = threadIdx.x; j < scan_interval * vectors; j += scan_threads) {
    const int k = j / vectors, column = block_first + j % vectors * 8;
    if (column >= in.channels) continue;
    prefetch(in.u, row + k, column);
    prefetch(in.delta, row + k, column);
    prefetch(in.dy, row + k, column);
    if (in.z.data) prefetch(in.z, row + k, column);
  }
  constexpr int lines = Tile::block_channels * Tile::state / 32;  // of 128 bytes
  const int count = min(Tile::block_channels, in.channels - block_first) * Tile::state / 32;
  for (int line = threadIdx.x; line < min(lines, count); line += scan_threads)
    prefetch(Rows<const float>{states, 32}, line, block_first * Tile::state);
}

// From the sums over states: du, ddelta and dz of an interval, and what its steps add to dD and d_delta_bias.
template <bool Aligned, class Element, class Tile>
__device__ void store_gradients(const BackwardArguments<Element>& in, int64_t row, int steps, int block_first,
                                BackwardShared<Tile>& shared) {
  using Vector = IntervalVector<Tile>;
  const Rows<const Element>& gated = in.z.data ? in.z : in.u;
#pragma unroll
  for (int i = 0; i < Vector::count; ++i) {
    const Vector vector(i, steps, block_first, in.channels);
    if (!vector.exists || !vector.valid) continue;
    const int k = vector.step, c = vector.channel, at = vector.at, column = block_first + c;
    float u[8], x[8], z[8], dy[8], v[8], g[8], D[8];
    load<Aligned>(in.u, row + k, column, in.channels, u);
    load<Aligned>(in.delta, row + k, column, in.channels, x);
    load<Aligned>(gated, row + k, column, in.channels, z);
    load<Aligned>(in.dy, row + k, column, in.channels, dy);
    unpack(shared.D + c, D);
    if (in.z.data) {
      unpack(shared.y + at, v);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const float gate = sigmoid(z[e]);
        v[e] = dy[e] * (v[e] + D[e] * u[e]) * gate * (1 + z[e] * (1 - gate));
      }
      store<Aligned>(in.dz, row + k, column, in.channels, v);
    }
    unpack(shared.gradient + at, g);
    unpack(shared.delta + at, v);
    unpack(shared.du + at, dy);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      shared.sums[0][e][threadIdx.x] += g[e] * u[e];
      u[e] *= dy[e];
      g[e] = v[e] * dy[e] + D[e] * g[e];
    }
    store<Aligned>(in.du, row + k, column, in.channels, g);
    unpack(shared.ddelta + at, v);
    unpack(shared.bias + c, g);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      v[e] = log_2 * v[e] + u[e];
      if (in.softplus) v[e] *= sigmoid(x[e] + g[e]);
      shared.sums[1][e][threadIdx.x] += v[e];
    }
    store<Aligned>(in.ddelta, row + k, column, in.channels, v);
  }
}

// The block's share of dB and dC of an interval.
template <class Tile>
__device__ void store_states(const Partials& partials, int64_t row, int steps, const BackwardShared<Tile>& shared) {
  constexpr int width = 2 * Tile::state;
  for (int j = threadIdx.x; j < steps * width; j += scan_threads) {
    const int k = j / width, n = j % width;
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < scan_warps; ++warp) sum += shared.states[warp][k][n];
    partials.states[((row + k) * gridDim.x + blockIdx.x) * width + n] = sum;
  }
}

template <class Element, class Tile>
__device__ void store_parameters(const BackwardArguments<Element>& in, int block_first, const TileArray<Tile>& dA,
                                 const BackwardShared<Tile>& shared) {
  constexpr int channels = Tile::block_channels, vectors = channels / 8;
  const int64_t size = static_cast<int64_t>(in.channels) * (in.state + 2);
  float* to = in.partials.parameters + (static_cast<int64_t>(blockIdx.z) * in.chunks.count + blockIdx.y) * size;
  store_tile<Tile>(dA, block_first + Tile::first_channel(), in.channels, in.state, to);
  to += static_cast<int64_t>(in.channels) * in.state;
  for (int j = threadIdx.x; j < 2 * channels; j += scan_threads) {
    const int which = j / channels, c = j % channels;
    float sum = 0;
    for (int thread = c / 8; thread < scan_threads; thread += vectors) sum += shared.sums[which][c % 8][thread];
    if (block_first + c < in.channels) to[static_cast<int64_t>(which) * in.channels + block_first + c] = sum;
  }
}

}  // namespace recite::kernels
