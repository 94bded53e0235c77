// GELU of a projection on a GPU: the formula and letters of kernels/gelu/gelu.h. Every pointer is device memory; y may
// be u, and du may be u or dy.
//
// Element is float or __nv_bfloat16; arithmetic, the bias and its gradient are float32. 16 bytes are moved at a time
// where a row is a multiple of 16 bytes and every array begins at one, else single numbers.
//
// The work is queued on `stream`; nothing waits for it. Two runs give the same bits: no atomics, sums in a fixed order
// that depends on the shape alone. Throws std::invalid_argument for what is not supported, std::runtime_error when CUDA
// refuses a launch.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/bfloat16.h"
#include "kernels/gelu/gelu.h"

namespace recite::kernels {

template <class Element>
void bias_gelu_forward_cuda(const GeluShape& shape, const Element* u, const float* bias, Element* y,
                            cudaStream_t stream);

// The workspace, aligned to 16 bytes, needs no initial contents.
int64_t bias_gelu_backward_workspace_bytes(const GeluShape& shape);
template <class Element>
void bias_gelu_backward_cuda(const GeluShape& shape, const Element* u, const float* bias, const Element* dy,
                             Element* du, float* dbias, void* workspace, cudaStream_t stream);

}  // namespace recite::kernels
