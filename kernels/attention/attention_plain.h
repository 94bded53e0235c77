// The plain kernels of attention, for their dispatch (attention_cuda.cu): any Element and head size up to 256.
#pragma once

#include "kernels/attention/attention_tensor.h"

namespace recite::kernels {

template <class Element>
void launch_plain_attention_forward(const AttentionProblem& problem, const Element* qkv, Element* out, float* log_sum,
                                    cudaStream_t stream);

template <class Element>
void launch_plain_attention_backward(const AttentionProblem& problem, const Element* qkv, const Element* out,
                                     const float* log_sum, const Element* dout, Element* dqkv, float* delta,
                                     cudaStream_t stream);

}  // namespace recite::kernels
