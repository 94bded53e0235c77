// AdamW (Loshchilov and Hutter, arXiv 1711.05101) and the clipping of the gradient's norm, on a GPU, without a word
// from the host in between. With the gradient sum G of `divisor` addends, update t = 1.., learning rate lr, decay d:
//
//   norm = ||G|| / divisor                     g = G / divisor * min(1, limit / (norm + 1e-6))
//   w -= lr d w
//   m = beta1 m + (1 - beta1) g                v = beta2 v + (1 - beta2) g^2
//   w -= lr m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + epsilon)
//
// Buffers are float32 in device memory, each of `size` numbers, and begin at a multiple of 16 bytes.
//
// The work is queued on `stream`; nothing waits for it. Two runs give the same bits: no atomics, sums in a fixed order
// that depends on the size alone. Throws std::invalid_argument for what is not supported, std::runtime_error when CUDA
// refuses a launch.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace recite::kernels {

// Writes the sum of the squares, in float64, to device memory. The workspace, aligned to 16 bytes, needs no initial
// contents.
int64_t squared_norm_workspace_bytes(int64_t size);
void squared_norm_cuda(const float* gradients, int64_t size, double* sum, void* workspace, cudaStream_t stream);

struct AdamWStep {
  double learning_rate, weight_decay;
  int64_t t;
  double divisor;  // of the gradients
  double limit;    // of their norm; 0 or less: none
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
};

struct AdamWBuffers {
  float* weights;
  const float* gradients;
  float *first_moments, *second_moments;
  __nv_bfloat16* rounded_weights = nullptr;  // of the new ones; null: not wanted
};

// One pass, in place. squared_norm: that of all gradients (not only of this buffer's, should there be others), in
// device memory; it may be null without a limit. A norm that is not finite clips nothing: who reads it later knows.
void adamw_cuda(const AdamWStep& step, const AdamWBuffers& buffers, int64_t size, const double* squared_norm,
                cudaStream_t stream);

}  // namespace recite::kernels
