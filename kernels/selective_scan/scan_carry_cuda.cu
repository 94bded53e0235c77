#include "kernels/selective_scan/scan_carry_cuda.h"

namespace recite::kernels {
namespace {

// What a chunk adds to a zero gradient after it, from its end: dh = a (dh + (dy silu(z)) C); and its sum of delta'.
template <class Element, class Tile, bool Aligned>
__global__ __launch_bounds__(scan_threads) void chunk_sums(ScanArguments<Element> in, float* carries, float* sums) {
  constexpr int N = Tile::state, channels = Tile::block_channels;
  __shared__ __align__(16) float delta[scan_interval][channels], weight[scan_interval][channels];
  __shared__ __align__(16) float states[scan_interval][N], bias[channels];

  const int chunk = blockIdx.y + 1, b = blockIdx.z;  // nothing is carried out of the first one
  const int begin = chunk * in.chunks.steps, end = min(in.time, begin + in.chunks.steps);
  const int block_first = blockIdx.x * channels, c0 = Tile::first_channel(), first = block_first + c0;
  TileArray<Tile> a, h = {};
  float sum[Tile::channels] = {};
  load_tile<Tile>(in.A, first, in.channels, in.state, log2_e, a);
  load_parameters(in.delta_bias, block_first, in.channels, bias);

  for (int i = 0; i < in.chunks.steps; i += scan_interval) {
    const int t0 = begin + in.chunks.steps - scan_interval - i;
    const int steps = min(scan_interval, end - t0);
    if (steps <= 0) continue;
    const int64_t row = static_cast<int64_t>(b) * in.time + t0;
    __syncthreads();
    const Rows<const Element>& gate = in.z.data ? in.z : in.u;
    using Vector = IntervalVector<Tile>;
    float d[Vector::count][8], w[Vector::count][8], z[Vector::count][8];
#pragma unroll
    for (int j = 0; j < Vector::count; ++j) {
      const Vector v(j, steps, block_first, in.channels);
      const int column = Aligned ? v.column : block_first + v.channel;
      load<Aligned>(in.delta, row + v.row, column, in.channels, d[j]);
      load<Aligned>(in.dy, row + v.row, column, in.channels, w[j]);
      load<Aligned>(gate, row + v.row, column, in.channels, z[j]);
    }
    load_states_of_interval<Aligned, N, 1>({in.C}, row, steps, in.state, {states[0]});
#pragma unroll
    for (int j = 0; j < Vector::count; ++j) {
      const Vector v(j, steps, block_first, in.channels);
      if (!v.exists) break;
      make_steps(in.softplus, bias + v.channel, d[j]);
      if (in.z.data) multiply_gate(z[j], w[j]);
      pack(d[j], &delta[0][v.at]);
      pack(w[j], &weight[0][v.at]);
    }
    __syncthreads();
    for (int k = steps - 1; k >= 0; --k) {
      float d[Tile::channels], w[Tile::channels], v[Tile::states];
      load_vectors(&delta[k][c0], d);
      load_vectors(&weight[k][c0], w);
      load_states<Tile>(states[k], v);
#pragma unroll
      for (int c = 0; c < Tile::channels; ++c) {
        sum[c] += d[c];
#pragma unroll
        for (int s = 0; s < Tile::states; ++s) h[c][s] = exp2_fast(d[c] * a[c][s]) * (h[c][s] + w[c] * v[s]);
      }
    }
  }

  const int64_t index = (static_cast<int64_t>(b) * in.chunks.count + chunk - 1) * in.channels;  // into the one before
  store_padded_tile<Tile>(h, first, in.channels, carries + index * N);
  if (Tile::lane() % Tile::lanes == 0)
#pragma unroll
    for (int c = 0; c < Tile::channels; ++c)
      if (first + c < in.channels) sums[index + first + c] = sum[c];
}

// Chunk after chunk: carry = exp(A sum of delta') carry + what the chunk between them added.
template <bool Reverse>
__global__ void add_up(int64_t per_row, int state, int padded, int chunks, const float* A, float* carries,
                       const float* sums) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;  // (D, N rounded up)
  if (i >= per_row * padded) return;
  const int64_t b = blockIdx.y, d = i / padded, n = i % padded;
  const float a = n < state ? A[d * state + n] * log2_e : 0;
  float carry = 0;
  for (int j = 0; j < chunks; ++j) {
    const int64_t row = b * chunks + (Reverse ? chunks - 1 - j : j);
    float& here = carries[row * per_row * padded + i];
    if (j > 1) carry *= exp2_fast(a * sums[row * per_row + d]);
    if (j > 0) carry += here;
    here = carry;
  }
}

}  // namespace

template <bool Reverse, class Element>
void add_carries(const ScanShape& shape, const ScanArguments<Element>& in, float* carries, cudaStream_t stream) {
  constexpr int threads = 256;
  const int padded = padded_state(shape.state);
  const dim3 blocks(static_cast<unsigned>(ceil_div(shape.channels * padded, threads)), in.batch);
  launch("selective scan", add_up<Reverse>, blocks, threads, 0, stream, shape.channels, in.state, padded,
         in.chunks.count, in.A, carries, scan_carry_sums<const float>(shape, in.chunks, carries));
}

template <class Element>
void scan_gradient_carries(const ScanShape& shape, const ScanArguments<Element>& in, float* carries,
                           cudaStream_t stream) {
  with_padded_state(shape.state, [&](auto state) {
    using Tile = NarrowTile<decltype(state)::value>;
    const dim3 blocks(static_cast<unsigned>(channel_blocks<Tile>(shape)), in.chunks.count - 1, in.batch);
    launch("selective scan", is_aligned(in) ? chunk_sums<Element, Tile, true> : chunk_sums<Element, Tile, false>,
           blocks, scan_threads, 0, stream, in, carries, scan_carry_sums(shape, in.chunks, carries));
  });
  add_carries<true>(shape, in, carries, stream);
}

#define RECITE_CARRIES(Element)                                                                            \
  template void add_carries<false>(const ScanShape&, const ScanArguments<Element>&, float*, cudaStream_t); \
  template void scan_gradient_carries(const ScanShape&, const ScanArguments<Element>&, float*, cudaStream_t);
RECITE_CARRIES(float)
RECITE_CARRIES(__nv_bfloat16)
#undef RECITE_CARRIES

}  // namespace recite::kernels
