// Sums the gradients of the ranks.
#pragma once

#include <torch/torch.h>

#include "comm/collective.h"

namespace recite {

class GradientReducer {
 public:
  static constexpr int64_t default_bucket_bytes = 16 << 20;

  // `gradients`: (P), contiguous, float32 or float64, in the kind of memory that `device` works on.
  GradientReducer(const torch::Tensor& gradients, Collective& device, int64_t bucket_bytes = default_bucket_bytes);

  // On return the gradients are the sums over the ranks, the same bits on each. One rank: nothing happens.
  // Throws PeerLost.
  void reduce();

 private:
  std::vector<torch::Tensor> buckets_;
  Collective& device_;
};

// For the buffers of training: float32 or float64.
ElementType element_type(const torch::Tensor& tensor);

}  // namespace recite
