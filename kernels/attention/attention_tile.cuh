// Tiles of 16-bit rows in shared memory, and products of them on tensor cores (mma.sync m16n8k16, since sm_80), for
// blocks of `tile_threads`. A row is an odd number of 16-byte pieces long, so that 8 rows on end lie in different
// banks.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/tensor_cores.cuh"

namespace recite::kernels {

constexpr int tile_threads = 128;

template <int D>
constexpr int tile_stride = (D / 8 | 1) * 8;  // elements from row to row

__device__ inline uint32_t shared_address(const void* at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// Starts to copy `bytes` to shared memory, and zeros up to 16.
__device__ inline void copy_async_16(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
// The same, up to 4.
__device__ inline void copy_async_4(void* to, const void* from, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
// A thread's copies make groups, in their order; waits for all but the last `Left` groups.
__device__ inline void end_group_of_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Left>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

// A warp's share of the rows of a tile: which it copies, prepares and, of the block's own, computes with.
template <int Rows>
constexpr int rows_of_warp = Rows * 32 / tile_threads;
template <int Rows>
__device__ int first_row_of_warp() {
  return threadIdx.x / 32 * rows_of_warp<Rows>;
}

// Calls do_piece(row, column) for each 16-byte piece of the calling warp's rows of a tile.
template <int Rows, int D, class Piece>
__device__ void for_pieces_of_warp(Piece do_piece) {
  constexpr int pieces = D / 8, share = rows_of_warp<Rows>;
  const int first = first_row_of_warp<Rows>(), lane = threadIdx.x % 32;
#pragma unroll
  for (int i = lane; i < share * pieces; i += 32) do_piece(first + i / pieces, i % pieces * 8);
}

// Starts to copy rows 0 .. count-1 of a global array to a tile; the rest of its rows get zeros.
template <int Rows, int D, class Element>
__device__ void load_tile(Element* tile, const Element* from, int64_t stride, int count) {
  for_pieces_of_warp<Rows, D>([&](int row, int column) {
    copy_async_16(tile + row * tile_stride<D> + column, from + (row < count ? row * stride : 0) + column,
                  row < count ? 16 : 0);
  });
}

// Rows 0 .. count-1 of a tile to a global array.
template <int Rows, int D, class Element>
__device__ void store_tile(const Element* tile, Element* to, int64_t stride, int count) {
  for_pieces_of_warp<Rows, D>([&](int row, int column) {
    if (row < count)
      *reinterpret_cast<uint4*>(to + row * stride + column) =
          *reinterpret_cast<const uint4*>(tile + row * tile_stride<D> + column);
  });
}

__device__ inline void load_matrices(uint32_t (&to)[4], uint32_t from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&to)[4], uint32_t from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
}

// Two numbers side by side, as they lie in memory.
template <class Element>
__device__ uint32_t packed(float low, float high) {
  if constexpr (std::is_same_v<Element, __half>) {
    const __half2 both = __floats2half2_rn(low, high);
    return reinterpret_cast<const uint32_t&>(both);
  } else {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(both);
  }
}

// What a lane adds to the address of a tile's row for load_matrices of 16 x 16 elements: of the left operand, or of a
// right one that is transposed; and of a right operand whose rows are the product's columns.
template <int D>
__device__ int left_offset() {
  const int lane = threadIdx.x % 32;
  return lane % 16 * tile_stride<D> + lane / 16 * 8;
}
template <int D>
__device__ int right_offset() {
  const int lane = threadIdx.x % 32;
  return (lane % 8 + lane / 16 * 8) * tile_stride<D> + lane / 8 % 2 * 8;
}

// A warp's (16, 8 N) numbers in the layout of the sums of mma: [n][e] of a lane is row lane / 4 + e / 2 * 8, column
// 8 n + lane % 4 * 2 + e % 2.
template <int N>
using Fragment = float[N][4];

// Groups of 16 columns, [first, last), of a tile.
struct Groups {
  int first, last;
};

// to = rows of `left` (16, D) times rows of `right` (8 N, D); with `Part` only the groups of columns, the others 0.
template <bool Part, int D, class Element, int N>
__device__ void product_of_rows(Fragment<N>& to, uint32_t left, uint32_t right, Groups groups) {
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) to[n][e] = 0;
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    uint32_t a[4];
    load_matrices(a, left + k * 16 * 2);
#pragma unroll
    for (int n = 0; n < N / 2; ++n) {
      if (Part && (n < groups.first || n >= groups.last)) continue;
      uint32_t b[4];
      load_matrices(b, right + (n * 16 * tile_stride<D> + k * 16) * 2);
      multiply_add<Element>(to[2 * n], a, b[0], b[1]);
      multiply_add<Element>(to[2 * n + 1], a, b[2], b[3]);
    }
  }
}

// to (16, D) += weights (16, 8 N), rounded, times `right` (8 N, D); with `Part` only the groups of its rows.
template <bool Part, int D, class Element, int N>
__device__ void add_weighted_rows(Fragment<D / 8>& to, const Fragment<N>& weights, uint32_t right, Groups groups) {
#pragma unroll
  for (int k = 0; k < N / 2; ++k) {
    if (Part && (k < groups.first || k >= groups.last)) continue;
    uint32_t a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      a[i] = packed<Element>(weights[2 * k + i / 2][i % 2 * 2], weights[2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
    for (int n = 0; n < D / 16; ++n) {
      uint32_t b[4];
      load_matrices_transposed(b, right + (k * 16 * tile_stride<D> + n * 16) * 2);
      multiply_add<Element>(to[2 * n], a, b[0], b[1]);
      multiply_add<Element>(to[2 * n + 1], a, b[2], b[3]);
    }
  }
}

// Rounds a warp's numbers, times factor(e / 2, column), into its rows of a tile.
template <int D, class Element, class Factor>
__device__ void store_fragment(const Fragment<D / 8>& from, Element* rows, Factor factor) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      const int row = half * 8 + lane / 4, column = n * 8 + lane % 4 * 2;
      *reinterpret_cast<uint32_t*>(rows + row * tile_stride<D> + column) =
          packed<Element>(from[n][2 * half] * factor(half, column), from[n][2 * half + 1] * factor(half, column + 1));
    }
}

}  // namespace recite::kernels
