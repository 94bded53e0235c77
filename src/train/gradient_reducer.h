// Sums the gradients of the ranks.
#pragma once

#include <torch/torch.h>

#include <cstddef>
#include <vector>

#include "comm/collective.h"

namespace recite {

// The buffer is cut into buckets. They are summed from the last to the first, which is the order in which a backward
// pass completes them; where the device's collective overlaps, beside what the pass still computes.
class GradientReducer {
 public:
  static constexpr int64_t default_bucket_bytes = 32 << 20;

  // `gradients`: (P), contiguous, float32 or float64, in the kind of memory that `device` works on.
  GradientReducer(const torch::Tensor& gradients, Collective& device, int64_t bucket_bytes = default_bucket_bytes);

  // All gradients from `gradient` on, a part of the buffer, are complete: begins the sums of the buckets that hold
  // nothing else. Throws PeerLost.
  void complete_from(const torch::Tensor& gradient);
  // Whether that would begin any.
  bool begins_from(const torch::Tensor& gradient) const { return first_complete(gradient) < waiting_; }
  // All are complete: on return what follows (on a GPU: on the default stream) sees the sums over the ranks, the same
  // bits on each. One rank: nothing happens. Throws PeerLost.
  void finish();

 private:
  size_t first_complete(const torch::Tensor& gradient) const;  // waiting_: none
  void start_until(size_t first);

  std::vector<torch::Tensor> buckets_;
  Collective& device_;
  size_t waiting_;  // buckets whose sums have not begun: the first so many
};

// For the buffers of training: float32 or float64.
ElementType element_type(const torch::Tensor& tensor);

}  // namespace recite
