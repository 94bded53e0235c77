// The residual stream and its norms on a GPU: the formulas and letters of kernels/residual_norm/residual_norm.h. Every
// pointer is device memory; `sum` may be `x`.
//
// Element is float or __nv_bfloat16; arithmetic, the stream and the parameters are float32. Up to 16384 columns; four
// columns are moved at a time where there is a multiple of four of them, up to 8192, and every array begins at a
// multiple of 16 bytes (8 for bfloat16), else one.
//
// The work is queued on `stream`; nothing waits for it. Two runs give the same bits: no atomics, sums in a fixed order
// that depends on the shape alone. Throws std::invalid_argument for what is not supported, std::runtime_error when CUDA
// refuses a launch.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/bfloat16.h"
#include "kernels/residual_norm/residual_norm.h"

namespace recite::kernels {

// weight, offset and bias are parameters for cuda/overlap.cuh.
template <class Element>
void residual_norm_forward_cuda(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                const ResidualNormOutputs<Element>& out, cudaStream_t stream);

// Of `out`, reads sum, mean and rstd. dx may be dsum. The workspace, aligned to 16 bytes, needs no initial contents.
int64_t residual_norm_backward_workspace_bytes(const ResidualNormShape& shape);
template <class Element>
void residual_norm_backward_cuda(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                 const ResidualNormOutputs<Element>& out, const float* dsum,
                                 const Element* const (&dy)[2], const ResidualNormGradients<Element>& gradients,
                                 void* workspace, cudaStream_t stream);

}  // namespace recite::kernels
