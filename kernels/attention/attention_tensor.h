// The tensor-core kernels of attention, for their dispatch (attention_cuda.cu): one for each Element and head size D.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#define RECITE_FOR_TENSOR_HEADS(apply)                                                                 \
  apply(__nv_bfloat16, 32) apply(__nv_bfloat16, 64) apply(__nv_bfloat16, 80) apply(__nv_bfloat16, 128) \
      apply(__half, 32) apply(__half, 64) apply(__half, 80) apply(__half, 128)

namespace recite::kernels {

struct AttentionProblem {
  int batch, time, heads, head, rotary, twice_from;
  const float *cos, *sin, *slope;
  const int64_t* window;
  float scale;            // 1 / sqrt(d)
  int neighbors;          // heads whose parts of the work follow one another: WorkItem in attention_work.cuh
  unsigned* items_taken;  // of attention_cuda.h
};

template <class Element, int D>
void launch_attention_forward(const AttentionProblem& problem, const Element* qkv, Element* out, float* log_sum,
                              cudaStream_t stream);

template <class Element, int D>
void launch_attention_backward(const AttentionProblem& problem, const Element* qkv, const Element* out,
                               const float* log_sum, const Element* dout, Element* dqkv, float* delta,
                               cudaStream_t stream);

}  // namespace recite::kernels
