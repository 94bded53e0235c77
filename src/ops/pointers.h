// The data of a tensor for a kernel; null where the tensor is undefined.
#pragma once

#include <torch/torch.h>

namespace recite {

template <class Value>
const Value* data(const torch::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<Value>() : nullptr;
}

template <class Value>
Value* mutable_data(const torch::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<Value>() : nullptr;
}

}  // namespace recite
