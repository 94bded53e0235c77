#include "kernels/selective_scan/scan_carry_cuda.h"

namespace recite::kernels {
namespace {

// What a chunk adds to a zero carry, and its sum of delta'. Forward: h = a h + (delta' u) B. Reverse, from the chunk's
// end: dh = a (dh + (dy silu(z)) C).
template <class Element, class Tile, bool Reverse, bool Aligned>
__global__ __launch_bounds__(scan_threads) void chunk_sums(ScanArguments<Element> in, float* carries, float* sums) {
  constexpr int N = Tile::state, channels = Tile::block_channels;
  __shared__ __align__(16) float delta[scan_interval][channels], weight[scan_interval][channels];
  __shared__ __align__(16) float states[scan_interval][N], bias[channels];

  const int chunk = blockIdx.y + (Reverse ? 1 : 0), b = blockIdx.z;  // nothing is carried out of the last one
  const int begin = chunk * in.chunks.steps, end = min(in.time, begin + in.chunks.steps);
  const int block_first = blockIdx.x * channels, c0 = Tile::first_channel(), first = block_first + c0;
  TileArray<Tile> a, h = {};
  float sum[Tile::channels] = {};
  load_tile<Tile>(in.A, first, in.channels, in.state, log2_e, a);
  load_parameters(in.delta_bias, block_first, in.channels, bias);

  for (int i = 0; i < in.chunks.steps; i += scan_interval) {
    const int t0 = Reverse ? begin + in.chunks.steps - scan_interval - i : begin + i;
    const int steps = min(scan_interval, end - t0);
    if (steps <= 0) continue;
    const int64_t row = static_cast<int64_t>(b) * in.time + t0;
    __syncthreads();
    const Rows<const Element>&gate = Reverse && in.z.data ? in.z : in.u, &from = Reverse ? in.dy : in.u;
    using Vector = IntervalVector<Tile>;
    float d[Vector::count][8], w[Vector::count][8], z[Vector::count][8];
#pragma unroll
    for (int j = 0; j < Vector::count; ++j) {
      const Vector v(j, steps, block_first, in.channels);
      const int column = Aligned ? v.column : block_first + v.channel;
      load<Aligned>(in.delta, row + v.row, column, in.channels, d[j]);
      load<Aligned>(from, row + v.row, column, in.channels, w[j]);
      if (Reverse) load<Aligned>(gate, row + v.row, column, in.channels, z[j]);
    }
    load_states_of_interval<Aligned, N, 1>({Reverse ? in.C : in.B}, row, steps, in.state, {states[0]});
#pragma unroll
    for (int j = 0; j < Vector::count; ++j) {
      const Vector v(j, steps, block_first, in.channels);
      if (!v.exists) break;
      make_steps(in.softplus, bias + v.channel, d[j]);
      if (Reverse && in.z.data) multiply_gate(z[j], w[j]);
#pragma unroll
      for (int e = 0; e < 8 && !Reverse; ++e) w[j][e] *= d[j][e];
      pack(d[j], &delta[0][v.at]);
      pack(w[j], &weight[0][v.at]);
    }
    __syncthreads();
    for (int j = 0; j < steps; ++j) {
      const int k = Reverse ? steps - 1 - j : j;
      float d[Tile::channels], w[Tile::channels], v[Tile::states];
      load_vectors(&delta[k][c0], d);
      load_vectors(&weight[k][c0], w);
      load_states<Tile>(states[k], v);
#pragma unroll
      for (int c = 0; c < Tile::channels; ++c) {
        sum[c] += d[c];
#pragma unroll
        for (int s = 0; s < Tile::states; ++s) {
          const float decay = exp2_fast(d[c] * a[c][s]);
          h[c][s] = Reverse ? decay * (h[c][s] + w[c] * v[s]) : decay * h[c][s] + w[c] * v[s];
        }
      }
    }
  }

  // Where the carry goes: into the next chunk, or the one before.
  const int64_t index = (static_cast<int64_t>(b) * in.chunks.count + (Reverse ? chunk - 1 : chunk + 1)) * in.channels;
  store_padded_tile<Tile>(h, first, in.channels, carries + index * N);
  if (Tile::lane() % Tile::lanes == 0)
#pragma unroll
    for (int c = 0; c < Tile::channels; ++c)
      if (first + c < in.channels) sums[index + first + c] = sum[c];
}

// Chunk after chunk: carry = exp(A sum of delta') carry + what the chunk between them added.
template <bool Reverse>
__global__ void add_carries(int64_t per_row, int state, int padded, int chunks, const float* A, const float* initial,
                            float* carries, const float* sums) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;  // (D, N rounded up)
  if (i >= per_row * padded) return;
  const int64_t b = blockIdx.y, d = i / padded, n = i % padded;
  const bool within = n < state;
  const float a = within ? A[d * state + n] * log2_e : 0;
  float carry = within && initial ? initial[(b * per_row + d) * state + n] : 0;
  for (int j = 0; j < chunks; ++j) {
    const int64_t row = b * chunks + (Reverse ? chunks - 1 - j : j);
    float& here = carries[row * per_row * padded + i];
    if (j > 0) carry = exp2_fast(a * sums[row * per_row + d]) * carry + here;
    here = carry;
  }
}

}  // namespace

template <class Element, bool Reverse>
void scan_carries(const ScanShape& shape, const ScanArguments<Element>& in, float* carries, cudaStream_t stream) {
  const int chunks = in.chunks.count, padded = padded_state(shape.state);
  float* sums = carries + shape.batch * chunks * shape.channels * padded;
  with_padded_state(shape.state, [&](auto state) {
    using Tile = NarrowTile<decltype(state)::value>;
    const dim3 blocks(static_cast<unsigned>(channel_blocks<Tile>(shape)), chunks - 1, in.batch);
    const auto kernel =
        is_aligned(in) ? chunk_sums<Element, Tile, Reverse, true> : chunk_sums<Element, Tile, Reverse, false>;
    launch("selective scan", kernel, blocks, scan_threads, 0, stream, in, carries, sums);
  });
  constexpr int threads = 256;
  const dim3 blocks(static_cast<unsigned>(ceil_div(shape.channels * padded, threads)), in.batch);
  launch("selective scan", add_carries<Reverse>, blocks, threads, 0, stream, shape.channels, in.state, padded, chunks,
         in.A, Reverse ? nullptr : in.initial, carries, sums);
}

template void scan_carries<float, false>(const ScanShape&, const ScanArguments<float>&, float*, cudaStream_t);
template void scan_carries<float, true>(const ScanShape&, const ScanArguments<float>&, float*, cudaStream_t);
template void scan_carries<__nv_bfloat16, false>(const ScanShape&, const ScanArguments<__nv_bfloat16>&, float*,
                                                 cudaStream_t);
template void scan_carries<__nv_bfloat16, true>(const ScanShape&, const ScanArguments<__nv_bfloat16>&, float*,
                                                cudaStream_t);

}  // namespace recite::kernels
