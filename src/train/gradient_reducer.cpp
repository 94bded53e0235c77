#include "train/gradient_reducer.h"

#include <fmt/format.h>

namespace recite {

GradientReducer::GradientReducer(const torch::Tensor& gradients, Collective& device, int64_t bucket_bytes)
    : device_(device) {
  for (const torch::Tensor& bucket : gradients.split(bucket_bytes / gradients.element_size())) {
    buckets_.push_back(bucket);
  }
}

void GradientReducer::reduce() {
  for (const torch::Tensor& bucket : buckets_) {
    device_.all_reduce_sum(bucket.data_ptr(), static_cast<size_t>(bucket.numel()), element_type(bucket));
  }
}

ElementType element_type(const torch::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case torch::kFloat32:
      return ElementType::float32;
    case torch::kFloat64:
      return ElementType::float64;
    default:
      throw Error(fmt::format("no collective for tensors of {}", c10::toString(tensor.scalar_type())));
  }
}

}  // namespace recite
