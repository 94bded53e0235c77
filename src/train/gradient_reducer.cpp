#include "train/gradient_reducer.h"

#include <fmt/format.h>

namespace recite {

GradientReducer::GradientReducer(const FlatLayout& layout, const torch::Tensor& gradients, Collective& device)
    : layout_(layout),
      gradients_(gradients),
      shares_(layout.ranks == 1 ? gradients.narrow(0, layout.common, layout.size() - layout.common)
                                : torch::zeros({layout.buckets * layout.share()}, gradients.options())),
      device_(device),
      waiting_(layout.buckets) {}

void GradientReducer::complete_from(const torch::Tensor& gradient) { start_until(first_complete(gradient)); }

void GradientReducer::complete() {
  start_until(0);
  device_.start_all_reduce_sum(gradients_.data_ptr(), static_cast<size_t>(layout_.common), element_type(gradients_));
}

void GradientReducer::finish() {
  device_.join();
  waiting_ = layout_.buckets;
}

int64_t GradientReducer::first_complete(const torch::Tensor& gradient) const {
  if (!device_.overlaps()) return waiting_;
  const int64_t place = gradient.storage_offset() - layout_.common;
  if (place < 0) throw std::logic_error("buckets that are complete from the common part on");
  return std::min(waiting_, (place + layout_.bucket - 1) / layout_.bucket);
}

void GradientReducer::start_until(int64_t first) {
  while (waiting_ > first) {
    --waiting_;
    const torch::Tensor bucket = layout_.shares(gradients_)[waiting_];
    device_.start_reduce_scatter_sum(bucket.data_ptr(), shares_[waiting_ * layout_.share()].data_ptr(),
                                     static_cast<size_t>(layout_.share()), element_type(bucket));
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
