// From a tensor to what a kernel takes: its elements' type, and its data.
#pragma once

#include <torch/torch.h>

#include <type_traits>

#include "kernels/simd/bf16.h"

namespace recite {

// Calls body(Element{}) with the kernels' type of the tensor's elements: float, double or kernels::bf16.
template <class Body>
void with_element_type(const torch::Tensor& tensor, const Body& body) {
  switch (tensor.scalar_type()) {
    case torch::kFloat32:
      return body(float{});
    case torch::kFloat64:
      return body(double{});
    case torch::kBFloat16:
      return body(kernels::bf16{});
    default:
      TORCH_CHECK(false, "no kernel takes elements of type ", tensor.scalar_type());
  }
}

// float16 has no kernels: its operations are done in float32 and rounded, on any device.
inline bool lacks_kernels(torch::ScalarType element) { return element == torch::kFloat16; }

// What sums of such elements are kept in.
inline torch::ScalarType sums_type(torch::ScalarType element) {
  return element == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

template <class Value>
using TorchType = std::conditional_t<std::is_same_v<Value, kernels::bf16>, at::BFloat16, Value>;

// The data of a tensor for a kernel; null where the tensor is undefined. The tensor must be contiguous.
template <class Value>
const Value* data(const torch::Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<const Value*>(tensor.const_data_ptr<TorchType<Value>>()) : nullptr;
}

template <class Value>
Value* mutable_data(const torch::Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<Value*>(tensor.mutable_data_ptr<TorchType<Value>>()) : nullptr;
}

}  // namespace recite
