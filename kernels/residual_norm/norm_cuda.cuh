// How rows lie on the threads of a GPU, for the kernels of the residual norm.
//
// A group of warps has a row at a time; each of its threads has the same columns of all of them. A block's groups share
// nothing until the end.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels/cuda/columns.cuh"
#include "kernels/residual_norm/residual_norm_cuda.h"

namespace recite::kernels {

constexpr int norm_pack = 4;               // columns of one access: 16 bytes of the stream
constexpr int norm_multiprocessors = 132;  // of an H100: the sums' order may not depend on the device that is there

#ifndef ONE_PACK
#define ONE_PACK 128
#endif
constexpr int norm_one_pack = ONE_PACK;
struct NormLayout {
  int packs;    // of a thread
  int threads;  // of a group
  int groups;   // of a block
};

inline NormLayout norm_layout(int64_t columns) {
  const int packs = columns <= norm_one_pack ? 1 : columns <= 4096 ? 2 : 4, width = 32 * packs * norm_pack;
  const int threads = 32 * static_cast<int>((columns + width - 1) / width);
  return {packs, threads, std::max(1, 512 / threads)};
}

// Blocks of 512 threads that a multiprocessor is to hold at once.
template <int Packs>
constexpr int norm_residents = Packs == 1 ? 2 : 1;

inline int64_t norm_blocks(const ResidualNormShape& shape) {
  const NormLayout layout = norm_layout(shape.columns);
  const int64_t residents = layout.packs == 1 ? norm_residents<1> : norm_residents<2>;
  return std::min<int64_t>((shape.rows + layout.groups - 1) / layout.groups, norm_multiprocessors * residents);
}

inline void check_norm_shape(const ResidualNormShape& shape) {
  const auto refuse = [](const std::string& what) { throw std::invalid_argument("residual norm on the GPU: " + what); };
  if (shape.rows < 1 || shape.columns < 1) refuse("an empty array");
  if (shape.columns > 16384) refuse(std::to_string(shape.columns) + " columns, more than 16384");
  if (shape.norms < 1 || shape.norms > 2) refuse(std::to_string(shape.norms) + " norms, not 1 or 2");
}

// Calls f(packs, threads of a block at most, whether packs are aligned), each a std::integral_constant.
template <class F>
void with_norm_layout(int64_t columns, bool aligned, const F& f) {
  const int packs = norm_layout(columns).packs;
  const auto call = [&](auto packs_, auto threads) {
    return aligned ? f(packs_, threads, std::true_type()) : f(packs_, threads, std::false_type());
  };
  using Narrow = std::integral_constant<int, 512>;
  if (packs == 1) return call(std::integral_constant<int, 1>(), Narrow());
  if (packs == 2) return call(std::integral_constant<int, 2>(), Narrow());
  if (columns <= 8192) return call(std::integral_constant<int, 4>(), Narrow());
  return f(std::integral_constant<int, 4>(), std::integral_constant<int, 1024>(), std::false_type());
}

// Where a thread is.
struct NormPlace {
  int group, thread;  // of the block; of the group
  int threads, groups;

  __device__ explicit NormPlace(int threads_)
      : group(threadIdx.x / threads_),
        thread(threadIdx.x % threads_),
        threads(threads_),
        groups(blockDim.x / threads_) {}
  __device__ int64_t first_row() const { return static_cast<int64_t>(blockIdx.x) * groups + group; }
  __device__ int64_t row_step() const { return static_cast<int64_t>(gridDim.x) * groups; }
  __device__ int column(int pack) const { return (pack * threads + thread) * norm_pack; }
};

constexpr int most_warps = 32;

// Adds over a group's threads; each of them gets the sums. Two turns of memory are enough: who writes the next but one
// sum has waited for all who read this one.
class GroupSum {
 public:
  using Memory = float[2][most_warps][2];
  __device__ GroupSum(const NormPlace& at, Memory& memory) : at_(at), memory_(memory) {}

  template <int Count>
  __device__ void operator()(float (&values)[Count]) {
#pragma unroll
    for (int i = 0; i < Count; ++i)
#pragma unroll
      for (int lanes = 16; lanes > 0; lanes /= 2) values[i] += __shfl_xor_sync(~0u, values[i], lanes);
    if (at_.threads == 32) return;
    turn_ ^= 1;
    if (threadIdx.x % 32 == 0) {
#pragma unroll
      for (int i = 0; i < Count; ++i) memory_[turn_][threadIdx.x / 32][i] = values[i];
    }
    asm volatile("bar.sync %0, %1;" ::"r"(at_.group + 1), "r"(at_.threads) : "memory");
    const int first = at_.group * at_.threads / 32;
#pragma unroll
    for (int i = 0; i < Count; ++i) values[i] = memory_[turn_][first][i];
    for (int warp = first + 1; warp < first + at_.threads / 32; ++warp)
#pragma unroll
      for (int i = 0; i < Count; ++i) values[i] += memory_[turn_][warp][i];
  }

 private:
  const NormPlace& at_;
  Memory& memory_;
  int turn_ = 0;
};

}  // namespace recite::kernels
