// Causal convolution and SiLU on a GPU: the formula and letters of kernels/causal_conv1d/causal_conv1d.h, where bias
// may be null: zeros. Every pointer is device memory.
//
// Element is float or __nv_bfloat16; arithmetic, weight (D, W), bias (D) and their gradients are float32. Rows
// (kernels/cuda/rows.h) are D wide and may be parts of wider arrays. Fast where every row array begins at a multiple of
// 16 bytes and its stride is a multiple of 16 bytes, and D is a multiple of 8; else the kernels read and write single
// numbers.
//
// The work is queued on `stream`; nothing waits for it. Two runs give the same bits: no atomics, sums in a fixed order
// that depends on the shape alone. Throws std::invalid_argument for what is not supported, std::runtime_error when CUDA
// refuses a launch.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/cuda/rows.h"

namespace recite::kernels {

// initial (B, W-1, D), contiguous: what came before t = 0, oldest first, or null for zeros.
template <class Element>
void causal_conv1d_forward_cuda(const ConvShape& shape, Rows<const Element> x, const float* weight, const float* bias,
                                const Element* initial, Rows<Element> y, cudaStream_t stream);

// One step of decoding (shape.time is 1) after the inputs in window (B, W-1, D), contiguous, oldest first, which moves
// on by one. weight and bias are parameters for cuda/overlap.cuh.
template <class Element>
void causal_conv1d_step_cuda(const ConvShape& shape, Rows<const Element> x, const float* weight, const float* bias,
                             Element* window, Rows<Element> y, cudaStream_t stream);

// Writes dx, dweight (D, W) and dbias (D), or null: not wanted; `initial` is zeros in training. The workspace, aligned
// to 16 bytes, needs no initial contents.
int64_t causal_conv1d_backward_workspace_bytes(const ConvShape& shape);
template <class Element>
void causal_conv1d_backward_cuda(const ConvShape& shape, Rows<const Element> x, const float* weight, const float* bias,
                                 Rows<const Element> dy, Rows<Element> dx, float* dweight, float* dbias,
                                 void* workspace, cudaStream_t stream);

}  // namespace recite::kernels
