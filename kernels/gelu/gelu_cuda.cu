#include "kernels/gelu/gelu_cuda.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/normal.cuh"

namespace recite::kernels {

namespace {

// A block is a tile: a pack for each lane, and every gelu_warps-th of its rows for each warp.
constexpr int gelu_warps = 8;
constexpr int forward_rows = 4, backward_rows = 2;  // whose loads are on their way at once
template <class Element>
constexpr int gelu_pack = 16 / static_cast<int>(sizeof(Element));  // else packs of one

template <int Size>
struct GeluTile {
  int64_t begin, end;  // rows of a warp, every gelu_warps-th
  int column, columns;

  __device__ GeluTile(int64_t rows, int columns_, int64_t rows_of_block)
      : begin(blockIdx.y * rows_of_block + threadIdx.x / 32),
        end(min(rows, (blockIdx.y + 1) * rows_of_block)),
        column((blockIdx.x * 32 + threadIdx.x % 32) * Size),
        columns(columns_) {}
};

template <int Rows, int Size, class Element>
__device__ void forward_batch(const GeluTile<Size>& tile, int64_t row, const Element* u, const float (&bias)[Size],
                              Element* y) {
  Pack<Element, Size> inputs[Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r)
    inputs[r] = load_pack<Size>(u + (row + r * gelu_warps) * tile.columns, tile.column, tile.columns);
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    float values[Size];
#pragma unroll
    for (int i = 0; i < Size; ++i) {
      const float x = to_float(inputs[r].values[i]) + bias[i];
      values[i] = gelu<Element>(x);
    }
    store_pack(values, y + (row + r * gelu_warps) * tile.columns, tile.column, tile.columns);
  }
}

template <class Element, int Size>
__global__ __launch_bounds__(32 * gelu_warps) void gelu_forward(int64_t rows, int columns, int64_t rows_of_block,
                                                                const Element* u, const float* bias, Element* y) {
  let_next_begin();
  await_previous();
  const GeluTile<Size> tile(rows, columns, rows_of_block);
  float added[Size];
  to_floats(load_pack<Size>(bias, tile.column, columns), added);
  int64_t row = tile.begin;
  for (; row + (forward_rows - 1) * gelu_warps < tile.end; row += forward_rows * gelu_warps)
    forward_batch<forward_rows>(tile, row, u, added, y);
  for (; row < tile.end; row += gelu_warps) forward_batch<1>(tile, row, u, added, y);
}

template <int Rows, int Size, class Element>
__device__ void backward_batch(const GeluTile<Size>& tile, int64_t row, const Element* u, const float (&bias)[Size],
                               const Element* dy, Element* du, float (&sums)[Size]) {
  Pack<Element, Size> inputs[Rows], gradients[Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    const int64_t begin = (row + r * gelu_warps) * tile.columns;
    inputs[r] = load_pack<Size>(u + begin, tile.column, tile.columns);
    gradients[r] = load_pack<Size>(dy + begin, tile.column, tile.columns);
  }
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    float dx[Size];
#pragma unroll
    for (int i = 0; i < Size; ++i) {
      const float x = to_float(inputs[r].values[i]) + bias[i];
      dx[i] = to_float(gradients[r].values[i]) * gelu_slope<Element>(x);
      sums[i] += dx[i];
    }
    store_pack(dx, du + (row + r * gelu_warps) * tile.columns, tile.column, tile.columns);
  }
}

template <class Element, int Size>
__global__ __launch_bounds__(32 * gelu_warps) void gelu_backward(int64_t rows, int columns, int64_t rows_of_block,
                                                                 const Element* u, const float* bias, const Element* dy,
                                                                 Element* du, float* shares) {
  __shared__ float shared[gelu_warps][Size][32];
  let_next_begin();
  await_previous();
  const GeluTile<Size> tile(rows, columns, rows_of_block);
  float added[Size], sums[Size] = {};
  to_floats(load_pack<Size>(bias, tile.column, columns), added);
  int64_t row = tile.begin;
  for (; row + (backward_rows - 1) * gelu_warps < tile.end; row += backward_rows * gelu_warps)
    backward_batch<backward_rows>(tile, row, u, added, dy, du, sums);
  for (; row < tile.end; row += gelu_warps) backward_batch<1>(tile, row, u, added, dy, du, sums);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int i = 0; i < Size; ++i) shared[warp][i][lane] = sums[i];
  __syncthreads();
  if (warp > 0) return;
#pragma unroll
  for (int i = 0; i < Size; ++i)
    for (int other = 1; other < gelu_warps; ++other) sums[i] += shared[other][i][lane];
  store_pack(sums, shares + static_cast<int64_t>(blockIdx.y) * columns, tile.column, columns);
}

// A block's rows: by the shape alone, since the order of sums follows from them.
int64_t rows_of_block(const GeluShape& shape) {
  constexpr int64_t most_rows = 8 * gelu_warps, most_blocks = 65535, blocks_wanted = 2048, tile = 256;
  const int64_t tiles = (shape.columns + tile - 1) / tile;
  const int64_t rows = shape.rows * tiles / (blocks_wanted * gelu_warps) * gelu_warps;
  return std::max(std::clamp<int64_t>(rows, gelu_warps, most_rows), (shape.rows + most_blocks - 1) / most_blocks);
}

dim3 gelu_blocks(const GeluShape& shape, int pack) {
  const int64_t tile = 32 * pack, rows = rows_of_block(shape);
  return dim3(static_cast<unsigned>((shape.columns + tile - 1) / tile),
              static_cast<unsigned>((shape.rows + rows - 1) / rows));
}

void check_gelu_shape(const GeluShape& shape) {
  if (shape.rows < 1 || shape.columns < 1) throw std::invalid_argument("GELU on the GPU: an empty array");
  if (shape.columns > (1 << 24)) throw std::invalid_argument("GELU on the GPU: more than 2^24 columns");
}

template <class Element>
bool is_aligned(const GeluShape& shape, const Element* u, const float* bias, const Element* dy, const Element* to) {
  constexpr int size = gelu_pack<Element>;
  return shape.columns % size == 0 && hold_packs<size>(u, dy, to, bias);
}

}  // namespace

template <class Element>
void bias_gelu_forward_cuda(const GeluShape& shape, const Element* u, const float* bias, Element* y,
                            cudaStream_t stream) {
  check_gelu_shape(shape);
  constexpr int size = gelu_pack<Element>;
  const bool aligned = is_aligned<Element>(shape, u, bias, nullptr, y);
  launch_overlapping("GELU", aligned ? gelu_forward<Element, size> : gelu_forward<Element, 1>,
                     gelu_blocks(shape, aligned ? size : 1), 32 * gelu_warps, 0, stream, shape.rows,
                     static_cast<int>(shape.columns), rows_of_block(shape), u, bias, y);
}

int64_t bias_gelu_backward_workspace_bytes(const GeluShape& shape) {
  check_gelu_shape(shape);
  return gelu_blocks(shape, 1).y * shape.columns * static_cast<int64_t>(sizeof(float));
}

template <class Element>
void bias_gelu_backward_cuda(const GeluShape& shape, const Element* u, const float* bias, const Element* dy,
                             Element* du, float* dbias, void* workspace, cudaStream_t stream) {
  constexpr const char* what = "GELU's gradient";
  check_gelu_shape(shape);
  constexpr int size = gelu_pack<Element>;
  const bool aligned = is_aligned<Element>(shape, u, bias, dy, du);
  const dim3 blocks = gelu_blocks(shape, aligned ? size : 1);
  const auto columns = static_cast<int>(shape.columns);
  auto* shares = static_cast<float*>(workspace);
  launch_overlapping(what, aligned ? gelu_backward<Element, size> : gelu_backward<Element, 1>, blocks, 32 * gelu_warps,
                     0, stream, shape.rows, columns, rows_of_block(shape), u, bias, dy, du, shares);
  add_all_shares<1>(what, shares, blocks.y, columns, {{dbias}}, stream);
}

#define RECITE_GELU(Element)                                                                                      \
  template void bias_gelu_forward_cuda(const GeluShape&, const Element*, const float*, Element*, cudaStream_t);   \
  template void bias_gelu_backward_cuda(const GeluShape&, const Element*, const float*, const Element*, Element*, \
                                        float*, void*, cudaStream_t);
RECITE_GELU(float)
RECITE_GELU(__nv_bfloat16)
#undef RECITE_GELU

}  // namespace recite::kernels
