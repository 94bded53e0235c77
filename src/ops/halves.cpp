#include "ops/halves.h"

#include <ATen/core/LegacyTypeDispatch.h>

namespace recite {

namespace {

bool is_second_half(const torch::Tensor& half) {
  const int64_t time = half.size(1), width = half.size(2);
  return half.stride(2) == 1 && half.stride(1) == 2 * width && half.stride(0) == time * 2 * width &&
         half.storage_offset() % (2 * width) == width;
}

torch::Tensor new_rows(const torch::Tensor& half) {
  return torch::empty({half.size(0), half.size(1), 2 * half.size(2)}, half.options());
}

}  // namespace

// Without autograd's records of views, which would hold the memory, too.

torch::Tensor half_like(const torch::Tensor& half) {
  const at::AutoDispatchBelowADInplaceOrView no_records;
  if (!is_second_half(half)) return torch::empty(half.sizes(), half.options());
  return new_rows(half).narrow(2, half.size(2), half.size(2));
}

torch::Tensor with_first_half(const torch::Tensor& half) {
  const at::AutoDispatchBelowADInplaceOrView no_records;
  const int64_t batch = half.size(0), time = half.size(1), width = half.size(2);
  const auto bytes = static_cast<size_t>(2 * half.numel()) * half.element_size();
  if (is_second_half(half) && half.storage().nbytes() == bytes && half.storage().use_count() == 1)
    return half.as_strided({batch, time, 2 * width}, {time * 2 * width, 2 * width, 1}, 0);
  torch::Tensor both = new_rows(half);
  both.narrow(2, width, width).copy_(half);
  return both;
}

}  // namespace recite
