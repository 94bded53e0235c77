// The selective scan on a GPU: the formula, letters and layouts of kernels/selective_scan/selective_scan.h, where
// softplus, D, z and delta_bias may be left out. Every pointer is device memory; those of float32
// arrays are aligned to 16 bytes.
//
// Element is float or __nv_bfloat16; arithmetic, parameters and states are float32. Any B, T, D, and N up to 256: N is
// rounded up to 16, 32, 64, 128 or 256, and costs as much as that. Rows (kernels/cuda/rows.h) may be parts of wider
// arrays. Fast where every row array begins at a multiple of 16 bytes and its stride is a multiple of 16 bytes, D is a
// multiple of 8, and N is one of those above; else the kernels read and write single numbers.
//
// The forward keeps the states before every 16th step, the backward recomputes from them. When B D is too small for the
// GPU, time is cut into chunks scanned at once: each first adds up what it adds to a zero state, and, as the recurrence
// is linear with a diagonal decay, the states at the cuts follow from those sums.
//
// The work is queued on `stream`; nothing waits for it. Two runs give the same bits: no atomics, sums in a fixed order
// that depends on the shape alone. Throws std::invalid_argument for what is not supported, std::runtime_error when CUDA
// refuses a launch. A workspace is given by the caller, is aligned to 16 bytes, and needs no initial contents.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/rows.h"
#include "kernels/selective_scan/selective_scan.h"

namespace recite::kernels {

template <class Element>
struct ScanCudaInputs {
  Rows<const Element> u;      // D wide
  Rows<const Element> delta;  // D wide, before bias and softplus
  const float* A;             // (D, N)
  Rows<const Element> B;      // N wide
  Rows<const Element> C;      // N wide
  const float* D;             // (D) or null: zeros
  Rows<const Element> z;      // D wide or null: no gate
  const float* delta_bias;    // (D) or null: zeros
  const float* initial;       // (B, D, N) or null: zeros
  bool softplus;              // else delta' = delta + delta_bias
};

// Bytes of `states`: those before every 16th step, (B, ceil(T/16), D, N rounded up) float32.
int64_t selective_scan_states_bytes(const ScanShape& shape);
int64_t selective_scan_forward_workspace_bytes(const ScanShape& shape);
int64_t selective_scan_backward_workspace_bytes(const ScanShape& shape);

// y: D wide. states: for the backward, or null. final (B, D, N): the state after the last step, or null.
template <class Element>
void selective_scan_forward_cuda(const ScanShape& shape, const ScanCudaInputs<Element>& in, Rows<Element> y,
                                 float* states, float* final, void* workspace, cudaStream_t stream);

// One step of decoding: shape.time is 1, in.initial is not read, and state (B, D, N) becomes the state after it. D and
// delta_bias are parameters for cuda/overlap.cuh.
template <class Element>
void selective_scan_step_cuda(const ScanShape& shape, const ScanCudaInputs<Element>& in, Rows<Element> y, float* state,
                              cudaStream_t stream);

// Gradients of a scalar whose gradient in y is dy. Each is written, not added to. A, D and delta_bias (float32) may be
// null: not wanted; dz is not read when z is null. No gradient goes into `initial`, or comes from `final`.
template <class Element>
struct ScanCudaGradients {
  Rows<Element> u, delta;
  float* A;
  Rows<Element> B, C;
  float* D;
  Rows<Element> z;
  float* delta_bias;
};
template <class Element>
void selective_scan_backward_cuda(const ScanShape& shape, const ScanCudaInputs<Element>& in, const float* states,
                                  Rows<const Element> dy, const ScanCudaGradients<Element>& gradients, void* workspace,
                                  cudaStream_t stream);

}  // namespace recite::kernels
