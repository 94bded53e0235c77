// A block has tiles of the weights' rows, and its warps share what is summed over. A lane reads 16 bytes of a row at a
// time, which lie as tensor cores want them if the numbers that are summed are taken in another order, in the weight
// and in x alike. The warps' sums are added in their order.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/cuda/normal.cuh"
#include "kernels/cuda/overlap.cuh"
#include "kernels/cuda/tensor_cores.cuh"
#include "kernels/product/skinny_product_cuda.h"

namespace recite::kernels {

namespace {

// Of y, what tensor cores make at once: from 16 rows of the weight.
constexpr int tile_columns = 16, tile_rows = 8;
static_assert(tile_rows == most_skinny_rows);
constexpr int piece = 8, step = 4 * piece;  // numbers: of a lane, of the four lanes that have a row
constexpr int share_steps = 4;              // loads of a lane in flight, for each of its two rows
constexpr int share = share_steps * step;   // numbers of a row that a warp reads at a time
constexpr int most_warps = 8, blocks_at_once = 2;

template <class Element>
struct Problem {
  int rows, columns, inner;
  int x_stride, y_stride;
  int warps;  // of a block, those that have a part of it
  const Element *x, *weight, *bias;
  const float* gelu_bias;
  Element* y;
};
// The tiles of one problem after those of the other.
template <class Element, int count>
struct Problems {
  Problem<Element> each[count];
  int first_tiles, tiles;

  __device__ Problem<Element> of_tile(int tile) const {
    if constexpr (count == 1)
      return each[0];
    else
      return tile < first_tiles ? each[0] : each[1];
  }
  __device__ int number_in_problem(int tile) const {
    if constexpr (count == 1)
      return tile;
    else
      return tile < first_tiles ? tile : tile - first_tiles;
  }
};

constexpr const char* what = "a product of few rows";

// Of a weight, which is read once and need not stay in the first-level cache.
__device__ uint4 read_once(const void* from) {
  uint4 to;
  asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w)
               : "l"(from));
  return to;
}
// Of x: a pointer that was chosen among several is not known to be one into global memory.
__device__ uint4 read(const void* from) {
  uint4 to;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w) : "l"(from));
  return to;
}

// Where a warp reads next: from a number on in the rows of a weight's tile.
template <class Element>
struct Place {
  const Element* weight;
  int columns, inner;
  int tile, begin;
};

// A lane's numbers of a warp's share of 16 rows of a weight.
struct Share {
  uint4 low[share_steps], high[share_steps];  // of row lane / 4 and of that + 8
};
template <class Element>
__device__ Share load_share(const Place<Element>& from) {
  const int row = from.tile * tile_columns + threadIdx.x % 32 / 4, first = from.begin + threadIdx.x % 4 * piece;
  const auto at = [&](int column, int k) {
    if (column >= from.columns || k >= from.inner) return make_uint4(0, 0, 0, 0);
    return read_once(from.weight + column * from.inner + k);
  };
  Share to;
#pragma unroll
  for (int s = 0; s < share_steps; ++s) {
    to.low[s] = at(row, first + s * step);
    to.high[s] = at(row + 8, first + s * step);
  }
  return to;
}

// A block goes through tiles of the weights' rows, and each of its warps through shares of them, of which the next, be
// it of the next tile, is on its way while one is multiplied.
template <class Element, int count>
__global__ void __launch_bounds__(32 * most_warps, blocks_at_once)
    skinny_products_kernel(const Problems<Element, count> problems) {
  __shared__ float of_warps[2][most_warps][tile_rows * tile_columns];  // tiles in turns
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4;
  const auto begin_of = [&](int at) {
    const Problem<Element> of = problems.of_tile(at);
    const int begin = warp < of.warps ? warp * share : of.inner;
    return Place<Element>{of.weight, of.columns, of.inner, problems.number_in_problem(at), begin};
  };

  let_next_begin();
  Place<Element> place = begin_of(blockIdx.x);
  Share now = load_share(place);
  await_previous();
  for (int at = blockIdx.x, turn = 0; at < problems.tiles; at += gridDim.x, turn ^= 1) {
    const Problem<Element> of = problems.of_tile(at);
    const auto x_at = [&](int k) {
      if (row >= of.rows || k >= of.inner) return make_uint4(0, 0, 0, 0);
      return read(of.x + row * of.x_stride + k);
    };
    float sums[4] = {};
    for (int shares = 0; shares < of.inner; shares += of.warps * share) {
      const int begin = place.begin;
      if (shares + of.warps * share >= of.inner)
        place = begin_of(at + gridDim.x);
      else
        place.begin = min(begin + of.warps * share, of.inner);
      const Share next = load_share(place);
#pragma unroll
      for (int s = 0; s < share_steps; ++s) {
        const uint4 &low = now.low[s], &high = now.high[s];
        const uint4 of_x = x_at(begin + s * step + lane % 4 * piece);
        multiply_add<Element>(sums, {low.x, high.x, low.y, high.y}, of_x.x, of_x.y);
        multiply_add<Element>(sums, {low.z, high.z, low.w, high.w}, of_x.z, of_x.w);
      }
      now = next;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) of_warps[turn][warp][(lane % 4 * 2 + i % 2) * tile_columns + row + i / 2 * 8] = sums[i];
    __syncthreads();
    for (int i = threadIdx.x; i < of.rows * tile_columns; i += blockDim.x) {
      const int of_row = i / tile_columns, column = problems.number_in_problem(at) * tile_columns + i % tile_columns;
      if (column >= of.columns) continue;
      float sum = 0;
      for (int w = 0; w < of.warps; ++w) sum += of_warps[turn][w][i];
      if (of.bias) sum += static_cast<float>(of.bias[column]);
      if (of.gelu_bias) sum = gelu<Element>(static_cast<float>(Element(sum)) + of.gelu_bias[column]);
      of.y[of_row * of.y_stride + column] = Element(sum);
    }
  }
}

// Why not; empty when it can be made.
std::string refusal(const SkinnyProductShape& shape, const void* x, const void* weight) {
  constexpr uintptr_t alignment = 16;
  if (shape.rows < 1 || shape.rows > most_skinny_rows)
    return std::to_string(shape.rows) + " rows, not 1 .. " + std::to_string(most_skinny_rows);
  if (shape.columns < 1 || shape.inner < 1) return "an empty matrix";
  if (shape.columns >= (INT32_MAX - 2 * tile_columns * shape.inner) / shape.inner)
    return "a weight of 2^31 numbers or more";
  if (most_skinny_rows * std::max(shape.x_stride, shape.y_stride) >= INT32_MAX) return "rows too far apart";
  if (shape.inner % piece != 0 || shape.x_stride % piece != 0) return "rows that are no multiple of 8 numbers long";
  if (reinterpret_cast<uintptr_t>(x) % alignment != 0 || reinterpret_cast<uintptr_t>(weight) % alignment != 0)
    return "a matrix that does not begin at a multiple of 16 bytes";
  return {};
}

int64_t in_parts(int64_t of, int64_t part) { return (of + part - 1) / part; }

// As many as have equal work.
int warps_for(int64_t inner) {
  const int64_t shares = in_parts(inner, share), turns = in_parts(shares, most_warps);
  return static_cast<int>(in_parts(shares, turns));
}

template <class Element, int count>
void launch_products(const std::vector<SkinnyProduct<Element>>& products, cudaStream_t stream) {
  Problems<Element, count> problems{};
  int warps = 0;
  for (int p = 0; p < count; ++p) {
    const SkinnyProduct<Element>& of = products[p];
    problems.each[p] = {.rows = static_cast<int>(of.shape.rows),
                        .columns = static_cast<int>(of.shape.columns),
                        .inner = static_cast<int>(of.shape.inner),
                        .x_stride = static_cast<int>(of.shape.x_stride),
                        .y_stride = static_cast<int>(of.shape.y_stride),
                        .warps = warps_for(of.shape.inner),
                        .x = of.x,
                        .weight = of.weight,
                        .bias = of.bias,
                        .gelu_bias = of.gelu_bias,
                        .y = of.y};
    problems.tiles += static_cast<int>(in_parts(of.shape.columns, tile_columns));
    if (p == 0) problems.first_tiles = problems.tiles;
    warps = std::max(warps, problems.each[p].warps);
  }
  const int64_t turns = in_parts(problems.tiles, int64_t{blocks_at_once} * multiprocessors(what));
  const int64_t blocks = in_parts(problems.tiles, turns);  // no more than have equally many
  launch_overlapping(what, skinny_products_kernel<Element, count>, dim3(static_cast<unsigned>(blocks)), 32 * warps, 0,
                     stream, problems);
}

}  // namespace

bool takes_skinny_product(const SkinnyProductShape& shape, const void* x, const void* weight) {
  return refusal(shape, x, weight).empty();
}

template <class Element>
void skinny_products_cuda(const std::vector<SkinnyProduct<Element>>& products, cudaStream_t stream) {
  for (const SkinnyProduct<Element>& of : products)
    if (const std::string refused = refusal(of.shape, of.x, of.weight); !refused.empty())
      throw std::invalid_argument(std::string(what) + " on the GPU: " + refused);
  if (products.size() == 1) return launch_products<Element, 1>(products, stream);
  if (products.size() == 2) return launch_products<Element, 2>(products, stream);
  throw std::invalid_argument(std::to_string(products.size()) + " products of few rows at once, not 1 or 2");
}

template void skinny_products_cuda(const std::vector<SkinnyProduct<__nv_bfloat16>>&, cudaStream_t);
template void skinny_products_cuda(const std::vector<SkinnyProduct<__half>>&, cudaStream_t);

}  // namespace recite::kernels
