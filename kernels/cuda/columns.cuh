// Threads that keep their columns over many rows: packs of neighbours, and sums over rows that several blocks share.
#pragma once

#include <cstdint>

#include "kernels/cuda/overlap.cuh"
#include "kernels/cuda/vectors.cuh"

namespace recite::kernels {

// Neighbours that are moved 16 bytes at a time (fewer, if they are fewer), as they are in memory: loaded ahead, they
// wait in few registers.
template <class Element, int Size>
struct alignas(Size * sizeof(Element) < 16 ? Size * sizeof(Element) : 16) Pack {
  Element values[Size];
};

// Whether packs can be moved from the arrays' begins on; an absent one stands in no one's way.
template <int Size, class... Elements>
bool hold_packs(const Elements*... arrays) {
  return (... && (reinterpret_cast<uintptr_t>(arrays) % alignof(Pack<Elements, Size>) == 0));
}

// Numbers column..column+Size-1 of a row of `width` numbers, which is a multiple of Size, as column is; past it, zeros.
template <int Size, class Element>
__device__ Pack<Element, Size> load_pack(const Element* row, int column, int width) {
  if (column < width) return *reinterpret_cast<const Pack<Element, Size>*>(row + column);
  Pack<Element, Size> zeros;
#pragma unroll
  for (int i = 0; i < Size; ++i) zeros.values[i] = from_float<Element>(0);
  return zeros;
}
template <int Size, class Element>
__device__ void store_pack(const float (&from)[Size], Element* row, int column, int width) {
  if (column >= width) return;
  Pack<Element, Size> pack;
#pragma unroll
  for (int i = 0; i < Size; ++i) pack.values[i] = from_float<Element>(from[i]);
  *reinterpret_cast<Pack<Element, Size>*>(row + column) = pack;
}

template <int Size, class Element>
__device__ void to_floats(const Pack<Element, Size>& pack, float (&to)[Size]) {
#pragma unroll
  for (int i = 0; i < Size; ++i) to[i] = to_float(pack.values[i]);
}

template <int Arrays>
struct ColumnSums {
  float* to[Arrays];  // (columns) each; null: not wanted
};

constexpr int share_warps = 16;

// Adds the blocks' shares (count, Arrays, columns): warps add every share_warps-th, then those sums are added in order.
template <int Arrays>
__global__ __launch_bounds__(32 * share_warps) void add_shares(const float* shares, int count, int columns,
                                                               const __grid_constant__ ColumnSums<Arrays> sums) {
  __shared__ float shared[share_warps][32];
  let_next_begin();
  await_previous();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.x * 32 + lane, array = blockIdx.y;
  float* to = sums.to[array];
  if (!to) return;
  float sum = 0;
  if (column < columns) {
#pragma unroll 8
    for (int k = warp; k < count; k += share_warps)
      sum += shares[(static_cast<int64_t>(k) * Arrays + array) * columns + column];
  }
  shared[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
  for (int k = 1; k < share_warps; ++k) sum += shared[k][lane];
  to[column] = sum;
}

// Each source's own: the kernel is there for that source's architectures alone.
template <int Arrays>
static void add_all_shares(const char* what, const float* shares, int64_t count, int64_t columns,
                           const ColumnSums<Arrays>& sums, cudaStream_t stream) {
  launch_overlapping(what, add_shares<Arrays>, dim3(static_cast<unsigned>((columns + 31) / 32), Arrays),
                     32 * share_warps, 0, stream, shares, static_cast<int>(count), static_cast<int>(columns), sums);
}

}  // namespace recite::kernels
