// Tensors as the kernels of kernels/*/*_cuda.h take them.
#pragma once

#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <torch/torch.h>

#include <cstdint>

namespace recite::gpu {

template <class Value>
struct TorchTypeOf {
  using type = Value;
};
template <>
struct TorchTypeOf<__nv_bfloat16> {
  using type = at::BFloat16;
};
template <>
struct TorchTypeOf<__half> {
  using type = at::Half;
};

template <class Value>
Value* data(const torch::Tensor& tensor) {
  using TorchType = typename TorchTypeOf<Value>::type;
  return tensor.defined() ? reinterpret_cast<Value*>(tensor.mutable_data_ptr<TorchType>()) : nullptr;
}

template <class Value>
const Value* read_only(const torch::Tensor& tensor) {
  using TorchType = typename TorchTypeOf<Value>::type;
  return tensor.defined() ? reinterpret_cast<const Value*>(tensor.const_data_ptr<TorchType>()) : nullptr;
}

// Calls body(Element{}) with the type of the tensor's elements.
template <class Body>
void with_element(const torch::Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == torch::kBFloat16) return body(__nv_bfloat16{});
  TORCH_CHECK(tensor.scalar_type() == torch::kFloat32, "no GPU kernel takes elements of type ", tensor.scalar_type());
  body(float{});
}

// The same, of attention's kernels, which take float16, too.
template <class Body>
void with_attention_element(const torch::Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == torch::kFloat16) return body(__half{});
  with_element(tensor, body);
}

inline cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream(); }

inline torch::Tensor workspace(int64_t bytes, const torch::Tensor& like) {
  return torch::empty({bytes}, like.options().dtype(torch::kUInt8));
}

inline torch::Tensor contiguous_like(const torch::Tensor& tensor) {
  return tensor.defined() ? torch::empty(tensor.sizes(), tensor.options()) : tensor;
}

}  // namespace recite::gpu
