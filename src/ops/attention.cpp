#include "ops/attention.h"

#include <cmath>
#include <limits>

#include "kernels/attention/attention.h"
#include "ops/dispatch.h"
#include "ops/gpu.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

kernels::AttentionShape shape_of(const torch::Tensor& qkv) {
  return {qkv.size(0), qkv.size(1), qkv.size(2), qkv.size(4)};
}

template <class Real>
kernels::AttentionPosition<Real> pointers(const AttentionPlaces& places) {
  return {.rotary = places.cos.defined() ? 2 * places.cos.size(1) : 0,
          .cos = data<Real>(places.cos),
          .sin = data<Real>(places.sin),
          .slope = data<Real>(places.slope),
          .window = data<int64_t>(places.window),
          .twice_from = places.twice_from};
}

AttentionPlaces contiguous(const AttentionPlaces& places) {
  const auto made = [](const torch::Tensor& tensor) { return tensor.defined() ? tensor.contiguous() : tensor; };
  return {made(places.cos), made(places.sin), made(places.slope), made(places.window), places.twice_from};
}

// Undefined `log_sum` (B, H, T): not wanted.
torch::Tensor forward_kernel(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& log_sum) {
  if constexpr (gpu::built) {
    if (qkv.is_cuda()) return gpu::attention_forward(qkv, places, log_sum);
  }
  const auto [batch, time, heads, head] = shape_of(qkv);
  torch::Tensor out = torch::empty({batch, time, heads * head}, qkv.options());
  with_element_type(qkv, [&](auto type) {
    using Element = decltype(type);
    using Real = kernels::Sums<Element>;
    kernels::attention_forward_cpu(shape_of(qkv), pointers<Real>(places), data<Element>(qkv),
                                   mutable_data<Element>(out), mutable_data<Real>(log_sum));
  });
  return out;
}

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, torch::Tensor qkv, AttentionPlaces places) {
    const auto sums = qkv.options().dtype(sums_type(qkv.scalar_type()));
    const torch::Tensor log_sum = torch::empty({qkv.size(0), qkv.size(2), qkv.size(1)}, sums);
    const torch::Tensor out = forward_kernel(qkv, places, log_sum);
    context->save_for_backward({qkv, out, log_sum, places.cos, places.sin, places.slope, places.window});
    context->saved_data["twice_from"] = places.twice_from;
    return out;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const tensor_list saved = context->get_saved_variables();
    const torch::Tensor &qkv = saved[0], &out = saved[1], &log_sum = saved[2], dout = gradients[0].contiguous();
    const AttentionPlaces places{saved[3], saved[4], saved[5], saved[6], context->saved_data["twice_from"].toInt()};
    if constexpr (gpu::built) {
      if (qkv.is_cuda())
        return {gpu::attention_backward(qkv, places, out, log_sum, dout.contiguous()), torch::Tensor()};
    }
    torch::Tensor dqkv = torch::empty_like(qkv);
    with_element_type(qkv, [&](auto type) {
      using Element = decltype(type);
      using Real = kernels::Sums<Element>;
      kernels::attention_backward_cpu(shape_of(qkv), pointers<Real>(places), data<Element>(qkv), data<Element>(out),
                                      data<Real>(log_sum), data<Element>(dout), mutable_data<Element>(dqkv));
    });
    return {dqkv, torch::Tensor()};
  }
};

// x (B, H, T, head)
torch::Tensor rotated(const torch::Tensor& x, const AttentionPlaces& places) {
  if (!places.cos.defined()) return x;
  const int64_t half = places.cos.size(1);
  const torch::Tensor a = x.narrow(3, 0, half), b = x.narrow(3, half, half);
  return torch::cat(
      {a * places.cos - b * places.sin, b * places.cos + a * places.sin, x.narrow(3, 2 * half, x.size(3) - 2 * half)},
      3);
}

// (1 or H, T, T): added to the scores.
torch::Tensor bias(const AttentionPlaces& places, int64_t time, torch::TensorOptions options) {
  const torch::Tensor at = torch::arange(time, options.dtype(torch::kInt64));
  const torch::Tensor distance = (at.unsqueeze(1) - at).unsqueeze(0);
  torch::Tensor hidden = distance < 0, bias = torch::zeros({1, time, time}, options);
  if (places.window.defined()) hidden = hidden | (distance > places.window.view({-1, 1, 1}));
  if (places.slope.defined()) bias = -places.slope.view({-1, 1, 1}) * distance;
  return bias.masked_fill(hidden, -std::numeric_limits<double>::infinity());
}

}  // namespace

torch::Tensor causal_attention(const torch::Tensor& qkv, const AttentionPlaces& places) {
  if (lacks_kernels(qkv.scalar_type())) return causal_attention(qkv.to(torch::kFloat32), places).to(qkv.scalar_type());
  if (!qkv.is_cpu() && !gpu::takes(qkv)) return composed_causal_attention(qkv, places);
  if (!torch::GradMode::is_enabled() || !qkv.requires_grad())
    return forward_kernel(qkv.contiguous(), contiguous(places), {});
  return AttentionFunction::apply(qkv.contiguous(), contiguous(places));
}

torch::Tensor composed_causal_attention(const torch::Tensor& qkv, const AttentionPlaces& places) {
  const auto [batch, time, heads, head] = shape_of(qkv);
  const std::vector<torch::Tensor> parts = qkv.transpose(1, 2).unbind(3);  // each (B, H, T, head)
  torch::Tensor q = rotated(parts[0], places), k = rotated(parts[1], places);
  if (places.twice_from < head) {
    const int64_t twice = head - places.twice_from;
    q = torch::cat({q.narrow(3, 0, places.twice_from), 2 * q.narrow(3, places.twice_from, twice)}, 3);
  }
  const torch::Tensor scores = torch::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(head));
  const torch::Tensor p = torch::softmax(scores + bias(places, time, qkv.options()), 3);
  return torch::matmul(p, parts[2]).transpose(1, 2).reshape({batch, time, heads * head});
}

}  // namespace recite
