#include "ops/causal_conv1d.h"

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "ops/dispatch.h"
#include "ops/gpu.h"
#include "ops/halves.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

kernels::ConvShape shape_of(const torch::Tensor& x, const torch::Tensor& weight) {
  return {x.size(0), x.size(1), x.size(2), weight.size(1)};
}

torch::Tensor forward_cpu(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  torch::Tensor y = torch::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "causal_conv1d", [&] {
    kernels::causal_conv1d_forward_cpu<scalar_t>(shape_of(x, weight), x.const_data_ptr<scalar_t>(),
                                                 weight.const_data_ptr<scalar_t>(), bias.const_data_ptr<scalar_t>(),
                                                 /*initial=*/nullptr, y.mutable_data_ptr<scalar_t>());
  });
  return y;
}

// One step: `window` moves on by one.
torch::Tensor step_cpu(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                       const torch::Tensor& window) {
  torch::Tensor y = torch::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "causal_conv1d_step", [&] {
    kernels::causal_conv1d_step_cpu<scalar_t>(shape_of(x, weight), x.const_data_ptr<scalar_t>(),
                                              weight.const_data_ptr<scalar_t>(), bias.const_data_ptr<scalar_t>(),
                                              window.mutable_data_ptr<scalar_t>(), y.mutable_data_ptr<scalar_t>());
  });
  return y;
}

class ConvFunction : public torch::autograd::Function<ConvFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, torch::Tensor x, torch::Tensor weight, torch::Tensor bias) {
    context->save_for_backward({x, weight, bias});
    if constexpr (gpu::built) {
      if (x.is_cuda()) return gpu::conv_forward(x, weight, bias);
    }
    return forward_cpu(x, weight, bias);
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const tensor_list saved = context->get_saved_variables();
    const torch::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], dy = gradients[0].contiguous();
    torch::Tensor dx = torch::empty(x.sizes(), x.options()), dweight = torch::empty_like(weight),
                  dbias = torch::empty_like(bias);
    if constexpr (gpu::built) {
      if (x.is_cuda()) {
        gpu::conv_backward(x, weight, bias, dy, {dx, dweight, dbias});
        return {dx, dweight, dbias};
      }
    }
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "causal_conv1d_backward", [&] {
      kernels::causal_conv1d_backward_cpu<scalar_t>(
          shape_of(x, weight), x.const_data_ptr<scalar_t>(), weight.const_data_ptr<scalar_t>(),
          bias.const_data_ptr<scalar_t>(), dy.const_data_ptr<scalar_t>(), dx.mutable_data_ptr<scalar_t>(),
          dweight.mutable_data_ptr<scalar_t>(), dbias.mutable_data_ptr<scalar_t>());
    });
    return {dx, dweight, dbias};
  }
};

// On a GPU. The gate is in it for its gradient, beside which that of the convolution's input is written.
class GatedConvFunction : public torch::autograd::Function<GatedConvFunction> {
 public:
  static tensor_list forward(AutogradContext* context, torch::Tensor xz, torch::Tensor weight, torch::Tensor bias) {
    context->save_for_backward({xz, weight, bias});
    const int64_t width = weight.size(0);
    torch::Tensor u;
    if constexpr (gpu::built) u = gpu::conv_forward(xz.narrow(2, 0, width), weight, bias);
    return {u, xz.narrow(2, width, width)};
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const tensor_list saved = context->get_saved_variables();
    const torch::Tensor &xz = saved[0], &weight = saved[1], &bias = saved[2];
    const int64_t width = weight.size(0);
    torch::Tensor both = with_first_half(gradients[1]), dweight = torch::empty_like(weight),
                  dbias = torch::empty_like(bias);
    if constexpr (gpu::built)
      gpu::conv_backward(xz.narrow(2, 0, width), weight, bias, gradients[0].contiguous(),
                         {both.narrow(2, 0, width), dweight, dbias});
    return {both, dweight, dbias};
  }
};

torch::Tensor zero_window(const torch::Tensor& x, const torch::Tensor& weight) {
  return torch::zeros({x.size(0), weight.size(1) - 1, x.size(2)}, x.options());
}

// The CPU's kernel takes elements of the weights' type alone.
bool converts(const torch::Tensor& x, const torch::Tensor& weight) {
  return lacks_kernels(x.scalar_type()) || (x.is_cpu() && x.scalar_type() != weight.scalar_type());
}

}  // namespace

torch::Tensor causal_conv1d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  if (converts(x, weight)) return causal_conv1d(x.to(weight.scalar_type()), weight, bias).to(x.scalar_type());
  if (gpu::takes(x)) return ConvFunction::apply(x, weight.contiguous(), bias.contiguous());
  if (!x.is_cpu()) return composed_causal_conv1d(x, weight, bias, zero_window(x, weight));
  return ConvFunction::apply(x.contiguous(), weight.contiguous(), bias.contiguous());
}

ConvAndGate gated_causal_conv1d(const torch::Tensor& xz, const torch::Tensor& weight, const torch::Tensor& bias) {
  if (gpu::takes(xz) && !converts(xz, weight)) {
    const tensor_list both = GatedConvFunction::apply(xz, weight.contiguous(), bias.contiguous());
    return {both[0], both[1]};
  }
  const tensor_list halves = xz.split(weight.size(0), 2);
  return {causal_conv1d(halves[0], weight, bias), halves[1]};
}

torch::Tensor causal_conv1d_step(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                 const torch::Tensor& window) {
  torch::NoGradGuard no_grad;
  if (converts(x, weight)) {
    const torch::Tensor exact = window.to(weight.scalar_type());
    const torch::Tensor y = causal_conv1d_step(x.to(weight.scalar_type()), weight, bias, exact);
    window.copy_(exact);
    return y.to(x.scalar_type());
  }
  if constexpr (gpu::built) {
    if (gpu::takes(x)) return gpu::conv_step(x, weight.contiguous(), bias.contiguous(), window);
  }
  if (x.is_cpu()) return step_cpu(x.contiguous(), weight.contiguous(), bias.contiguous(), window);
  const torch::Tensor y = composed_causal_conv1d(x, weight, bias, window);
  window.copy_(torch::cat({window, x}, 1).narrow(1, 1, window.size(1)));
  return y;
}

torch::Tensor composed_causal_conv1d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                     const torch::Tensor& window) {
  const torch::Tensor padded = torch::cat({window, x}, 1);  // (B, W-1+T, D)
  torch::Tensor sum = bias;
  for (int64_t k = 0; k < weight.size(1); ++k) sum = sum + weight.select(1, k) * padded.narrow(1, k, x.size(1));
  return torch::silu(sum).to(x.scalar_type());
}

}  // namespace recite
