// A block has tiles of the weight's rows, and its warps share what is summed over. A lane reads 16 bytes of a row at a
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

struct SkinnyProblem {
  int rows, columns, inner;
  int x_stride, y_stride;
};

constexpr const char* what = "a product of few rows";

// Read once: it need not stay in the first-level cache.
__device__ uint4 read_once(const void* from) {
  uint4 to;
  asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w)
               : "l"(from));
  return to;
}

// A lane's numbers of a warp's share of 16 rows of a weight.
struct Share {
  uint4 low[share_steps], high[share_steps];  // of row lane / 4 and of that + 8
};
template <class Element>
__device__ Share load_share(const SkinnyProblem& problem, const Element* weight, int tile, int begin) {
  const int row = tile * tile_columns + threadIdx.x % 32 / 4, first = begin + threadIdx.x % 4 * piece;
  const auto at = [&](int column, int k) {
    if (column >= problem.columns || k >= problem.inner) return make_uint4(0, 0, 0, 0);
    return read_once(weight + column * problem.inner + k);
  };
  Share to;
#pragma unroll
  for (int s = 0; s < share_steps; ++s) {
    to.low[s] = at(row, first + s * step);
    to.high[s] = at(row + 8, first + s * step);
  }
  return to;
}

// A block goes through tiles of the weight's rows, and each of its warps through shares of them, of which the next, be
// it of the next tile, is on its way while one is multiplied.
template <class Element>
__global__ void __launch_bounds__(32 * most_warps, blocks_at_once)
    skinny_product_kernel(const SkinnyProblem problem, const SkinnyProductInputs<Element> in, Element* y) {
  __shared__ float of_warps[2][most_warps][tile_rows * tile_columns];  // tiles in turns
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32, lane = threadIdx.x % 32, row = lane / 4;
  const int tiles = (problem.columns + tile_columns - 1) / tile_columns;
  const auto x_at = [&](int k) {
    if (row >= problem.rows || k >= problem.inner) return make_uint4(0, 0, 0, 0);
    return *reinterpret_cast<const uint4*>(in.x + row * problem.x_stride + k);
  };

  let_next_begin();
  await_previous();
  Share now = load_share(problem, in.weight, blockIdx.x, warp * share);
  for (int tile = blockIdx.x, turn = 0; tile < tiles; tile += gridDim.x, turn ^= 1) {
    float sums[4] = {};
    for (int shares = 0; shares < problem.inner; shares += warps * share) {
      const int begin = shares + warp * share;
      const bool last = shares + warps * share >= problem.inner;
      const Share next = last ? load_share(problem, in.weight, tile + gridDim.x, warp * share)
                              : load_share(problem, in.weight, tile, begin + warps * share);
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
    for (int i = threadIdx.x; i < problem.rows * tile_columns; i += blockDim.x) {
      const int of = i / tile_columns, column = tile * tile_columns + i % tile_columns;
      if (column >= problem.columns) continue;
      float sum = 0;
      for (int w = 0; w < warps; ++w) sum += of_warps[turn][w][i];
      if (in.bias) sum += static_cast<float>(in.bias[column]);
      if (in.gelu_bias) sum = gelu<Element>(static_cast<float>(Element(sum)) + in.gelu_bias[column]);
      y[of * problem.y_stride + column] = Element(sum);
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

}  // namespace

bool takes_skinny_product(const SkinnyProductShape& shape, const void* x, const void* weight) {
  return refusal(shape, x, weight).empty();
}

template <class Element>
void skinny_product_cuda(const SkinnyProductShape& shape, const SkinnyProductInputs<Element>& in, Element* y,
                         cudaStream_t stream) {
  if (const std::string refused = refusal(shape, in.x, in.weight); !refused.empty())
    throw std::invalid_argument(std::string(what) + " on the GPU: " + refused);
  const SkinnyProblem problem{static_cast<int>(shape.rows), static_cast<int>(shape.columns),
                              static_cast<int>(shape.inner), static_cast<int>(shape.x_stride),
                              static_cast<int>(shape.y_stride)};
  const int64_t blocks =
      std::min<int64_t>(in_parts(shape.columns, tile_columns), blocks_at_once * multiprocessors(what));
  launch_overlapping(what, skinny_product_kernel<Element>, dim3(static_cast<unsigned>(blocks)),
                     32 * warps_for(shape.inner), 0, stream, problem, in, y);
}

#define RECITE_INSTANTIATE(Element)                                                                           \
  template void skinny_product_cuda(const SkinnyProductShape&, const SkinnyProductInputs<Element>&, Element*, \
                                    cudaStream_t);
RECITE_INSTANTIATE(__nv_bfloat16)
RECITE_INSTANTIATE(__half)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
