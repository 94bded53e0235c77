#include "ops/bias_gelu.h"

#include "kernels/gelu/gelu.h"
#include "ops/dispatch.h"
#include "ops/gpu.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

kernels::GeluShape shape_of(const torch::Tensor& u) { return {u.numel() / u.size(-1), u.size(-1)}; }

torch::Tensor forward_kernel(const torch::Tensor& u, const torch::Tensor& bias) {
  if constexpr (gpu::built) {
    if (u.is_cuda()) return gpu::bias_gelu_forward(u, bias);
  }
  torch::Tensor y = torch::empty_like(u);
  with_element_type(u, [&](auto type) {
    using Element = decltype(type);
    kernels::bias_gelu_forward_cpu(shape_of(u), data<Element>(u), data<kernels::Sums<Element>>(bias),
                                   mutable_data<Element>(y));
  });
  return y;
}

class BiasGeluFunction : public torch::autograd::Function<BiasGeluFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, torch::Tensor u, torch::Tensor bias) {
    context->save_for_backward({u, bias});
    return forward_kernel(u, bias);
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const tensor_list saved = context->get_saved_variables();
    const torch::Tensor &u = saved[0], &bias = saved[1], dy = gradients[0].contiguous();
    if constexpr (gpu::built) {
      if (u.is_cuda()) {
        const gpu::GeluGradients d = gpu::bias_gelu_backward(u, bias, dy);
        return {d.u, d.bias};
      }
    }
    torch::Tensor du = torch::empty_like(u), dbias = torch::empty_like(bias);
    with_element_type(u, [&](auto type) {
      using Element = decltype(type);
      using Real = kernels::Sums<Element>;
      kernels::bias_gelu_backward_cpu(shape_of(u), data<Element>(u), data<Real>(bias), data<Element>(dy),
                                      mutable_data<Element>(du), mutable_data<Real>(dbias));
    });
    return {du, dbias};
  }
};

}  // namespace

torch::Tensor bias_gelu(const torch::Tensor& u, const torch::Tensor& bias) {
  if (lacks_kernels(u.scalar_type())) return bias_gelu(u.to(torch::kFloat32), bias).to(u.scalar_type());
  if (!u.is_cpu() && !gpu::takes(u)) return composed_bias_gelu(u, bias);
  if (!torch::GradMode::is_enabled()) return forward_kernel(u.contiguous(), bias.contiguous());
  return BiasGeluFunction::apply(u.contiguous(), bias.contiguous());
}

torch::Tensor composed_bias_gelu(const torch::Tensor& u, const torch::Tensor& bias) {
  return torch::gelu(u + bias.to(u.scalar_type()), "none");
}

}  // namespace recite
