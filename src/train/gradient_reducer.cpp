#include "train/gradient_reducer.h"

#include <fmt/format.h>

namespace recite {

GradientReducer::GradientReducer(const torch::Tensor& gradients, Collective& device, int64_t bucket_bytes)
    : buckets_(gradients.split(bucket_bytes / gradients.element_size())), device_(device), waiting_(buckets_.size()) {}

void GradientReducer::complete_from(const torch::Tensor& gradient) { start_until(first_complete(gradient)); }

void GradientReducer::finish() {
  start_until(0);
  device_.join();
  waiting_ = buckets_.size();
}

size_t GradientReducer::first_complete(const torch::Tensor& gradient) const {
  size_t first = waiting_;
  if (!device_.overlaps()) return first;
  const void* begin = gradient.data_ptr();
  while (first > 0 && buckets_[first - 1].data_ptr() >= begin) --first;
  return first;
}

void GradientReducer::start_until(size_t first) {
  for (; waiting_ > first; --waiting_) {
    const torch::Tensor& bucket = buckets_[waiting_ - 1];
    device_.start_all_reduce_sum(bucket.data_ptr(), static_cast<size_t>(bucket.numel()), element_type(bucket));
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
