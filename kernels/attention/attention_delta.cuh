// Attention's delta (kernels/attention/attention_cuda.h), which the backward of queries finds on its way.
#pragma once

#include "kernels/attention/attention_work.cuh"

namespace recite::kernels {

// The sums over d of out and dout for a lane's two rows of a warp's 16; a row's four lanes share it. Pieces of `out`
// are asked for early: they come from afar.
template <class Element, int D>
struct SumsOfProducts {
  static constexpr int pieces = (D / 8 + 3) / 4;
  uint4 out[2][pieces];

  // Of the warp's rows, `stride` elements apart, `rows` have a time.
  __device__ SumsOfProducts(const Element* from, int64_t stride, int rows) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int i = 0; i < pieces; ++i) {
        const int row = half * 8 + lane / 4, column = (i * 4 + lane % 4) * 8;
        out[half][i] =
            row < rows && column < D ? *reinterpret_cast<const uint4*>(from + row * stride + column) : uint4{};
      }
  }
  // dout_at(row, column): where the warp's rows of dout lie in shared memory.
  template <class At>
  __device__ void with(const At& dout_at, float (&sums)[2]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sums[half] = 0;
#pragma unroll
      for (int i = 0; i < pieces; ++i) {
        const int row = half * 8 + lane / 4, column = (i * 4 + lane % 4) * 8;
        if (column >= D) continue;
        const uint4 piece = *reinterpret_cast<const uint4*>(dout_at(row, column));
#pragma unroll
        for (int k = 0; k < 8; ++k)
          sums[half] += static_cast<float>(reinterpret_cast<const Element*>(&out[half][i])[k]) *
                        static_cast<float>(reinterpret_cast<const Element*>(&piece)[k]);
      }
      sums[half] += __shfl_xor_sync(~0u, sums[half], 1);
      sums[half] += __shfl_xor_sync(~0u, sums[half], 2);
    }
  }
};

}  // namespace recite::kernels
