// Makes the maps of kernels/attention/warpgroup.cuh, which tell the tensor memory accelerator how an array lies.
#pragma once

#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_tensor.h"
#include "kernels/attention/warpgroup.cuh"

namespace recite::kernels {

// The driver's function, without linking the driver: a machine without a GPU has none.
inline auto* tensor_map_encoder() {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
               "attention");
    if (found != cudaDriverEntryPointSuccess) throw std::runtime_error("attention on the GPU: the driver is too old");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  return encode;
}

// Unlike the runtime's functions the driver's want a current context. Autograd's thread has none when a backward pass
// begins with attention; cudaSetDevice makes the device's current.
inline void have_context() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "attention");
  check_cuda(cudaSetDevice(device), "attention");
}

// Of an array (B, T, heads, parts, D) of 16-bit numbers, whose heads and parts count as one.
template <int D, class Element>
TileMaps<D> tile_maps(const AttentionProblem& problem, const Element* array, int parts) {
  const cuuint64_t rows = static_cast<cuuint64_t>(problem.heads) * parts, bytes = D * sizeof(Element);
  const cuuint64_t sizes[] = {D, rows, static_cast<cuuint64_t>(problem.time), static_cast<cuuint64_t>(problem.batch)};
  const cuuint64_t strides[] = {bytes, rows * bytes, problem.time * rows * bytes};
  TileMaps<D> tiles;
  have_context();
  for (int i = 0; i < TileMaps<D>::count; ++i) {
    const cuuint32_t columns = i == 0 ? 64 : D % 64, box[] = {columns, 1, warpgroup_rows, 1}, steps[] = {1, 1, 1, 1};
    const CUresult made = tensor_map_encoder()(
        &tiles.maps[i],
        std::is_same_v<Element, __half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4,
        const_cast<Element*>(array), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
        columns == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_32B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (made != CUDA_SUCCESS)
      throw std::runtime_error("attention on the GPU: the driver refused the map of a tensor, error " +
                               std::to_string(made));
  }
  return tiles;
}

// Queues a kernel of pipeline P: a block for each multiprocessor. The items with most work of all heads come first, so
// that blocks end together. But of short rows a head has few items, of unlike work for their warpgroups: those of about
// as many heads as blocks have room for follow one another, so that a block soon has unlike ones, whose warpgroups
// overlap.
template <class P, class Kernel, class... Arguments>
void launch_pipeline(Kernel* kernel, AttentionProblem problem, cudaStream_t stream, const Arguments&... arguments) {
  const int blocks = std::min(P::Item::count(problem), multiprocessors("attention"));
  constexpr int few = 2;
  const int per_head = P::Item::per_head(problem);
  problem.neighbors = per_head <= few ? std::max(1, blocks / per_head) : problem.batch * problem.heads;
  launch_attention(kernel, blocks, P::threads, sizeof(typename P::Shared), stream, problem, arguments...);
}

}  // namespace recite::kernels
