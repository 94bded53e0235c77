// Sums the gradients of the ranks.
#pragma once

#include <torch/torch.h>

#include <cstddef>

#include "comm/collective.h"
#include "train/flat_parameters.h"

namespace recite {

// Of a buffer's buckets each rank gets the sums of its share. They are begun from the last to the first, which is the
// order in which a backward pass completes them; where the device's collective overlaps, beside what the pass still
// computes.
class GradientReducer {
 public:
  // `gradients`: laid out so, float32 or float64, in the kind of memory that `device` works on.
  GradientReducer(const FlatLayout& layout, const torch::Tensor& gradients, Collective& device);

  // All gradients of the buckets from `gradient` on, a part of one, are complete: begins the sums of the buckets that
  // hold nothing else. Throws PeerLost.
  void complete_from(const torch::Tensor& gradient);
  // Whether that would begin any.
  bool begins_from(const torch::Tensor& gradient) const { return first_complete(gradient) < waiting_; }
  // All are complete: begins what is left.
  void complete();
  // On return what follows (on a GPU: on the default stream) sees the sums: of the common part in the buffer, and of
  // the rank's shares. One rank: nothing happens. Throws PeerLost.
  void finish();

  // (buckets * layout.share()): the shares' sums. Of one rank the buffer's own memory, else memory
  // beside it, and the buffer's buckets stay the rank's own.
  const torch::Tensor& shares() const { return shares_; }

 private:
  int64_t first_complete(const torch::Tensor& gradient) const;  // waiting_: none
  void start_until(int64_t first);

  FlatLayout layout_;
  torch::Tensor gradients_, shares_;
  Collective& device_;
  int64_t waiting_;  // buckets whose sums have not begun: the first so many
};

// For the buffers of training: float32 or float64.
ElementType element_type(const torch::Tensor& tensor);

}  // namespace recite
