#include "ops/attention.h"

#include <cmath>
#include <limits>
#include <optional>

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

// (3 * H * head) of dqkv (B, T, H, 3, head).
torch::Tensor sums_over_tokens(const torch::Tensor& dqkv) {
  return dqkv.flatten(0, 1).flatten(1).sum(0, /*keepdim=*/false, sums_type(dqkv.scalar_type()));
}

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, torch::Tensor qkv, std::optional<torch::Tensor> bias,
                               AttentionPlaces places) {
    const auto sums = qkv.options().dtype(sums_type(qkv.scalar_type()));
    const torch::Tensor log_sum = torch::empty({qkv.size(0), qkv.size(2), qkv.size(1)}, sums);
    const torch::Tensor out = forward_kernel(qkv, places, log_sum);
    context->save_for_backward({qkv, out, log_sum, places.cos, places.sin, places.slope, places.window});
    context->saved_data["twice_from"] = places.twice_from;
    context->saved_data["with_bias"] = bias.has_value() && bias->requires_grad();
    return out;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const tensor_list saved = context->get_saved_variables();
    const torch::Tensor &qkv = saved[0], &out = saved[1], &log_sum = saved[2], dout = gradients[0].contiguous();
    const AttentionPlaces places{saved[3], saved[4], saved[5], saved[6], context->saved_data["twice_from"].toInt()};
    const bool with_bias = context->saved_data["with_bias"].toBool();
    if constexpr (gpu::built) {
      if (qkv.is_cuda()) {
        const gpu::AttentionGradients d = gpu::attention_backward(qkv, places, out, log_sum, dout, with_bias);
        return {d.qkv, d.bias, torch::Tensor()};
      }
    }
    torch::Tensor dqkv = torch::empty_like(qkv);
    with_element_type(qkv, [&](auto type) {
      using Element = decltype(type);
      using Real = kernels::Sums<Element>;
      kernels::attention_backward_cpu(shape_of(qkv), pointers<Real>(places), data<Element>(qkv), data<Element>(out),
                                      data<Real>(log_sum), data<Element>(dout), mutable_data<Element>(dqkv));
    });
    return {dqkv, with_bias ? sums_over_tokens(dqkv) : torch::Tensor(), torch::Tensor()};
  }
};

// x (B, H, T, head), cos and sin (T, R/2), or (B, 1, T, R/2), or undefined. In the precision of the angles.
torch::Tensor rotated(const torch::Tensor& x, const torch::Tensor& cos, const torch::Tensor& sin) {
  if (!cos.defined()) return x;
  const int64_t half = cos.size(-1);
  const torch::Tensor a = x.narrow(3, 0, half), b = x.narrow(3, half, half);
  return torch::cat({a * cos - b * sin, b * cos + a * sin, x.narrow(3, 2 * half, x.size(3) - 2 * half)}, 3);
}

torch::Tensor counted_twice(const torch::Tensor& q, const AttentionPlaces& places) {
  if (places.twice_from >= q.size(3)) return q;
  const int64_t twice = q.size(3) - places.twice_from;
  return torch::cat({q.narrow(3, 0, places.twice_from), 2 * q.narrow(3, places.twice_from, twice)}, 3);
}

// (B or 1, H or 1, Q, K): added to the scores of queries and keys that are `distance` (B or 1, 1, Q, K) apart.
torch::Tensor bias(const AttentionPlaces& places, const torch::Tensor& distance, torch::TensorOptions options) {
  torch::Tensor hidden = distance < 0, bias = torch::zeros(distance.sizes(), options);
  if (places.window.defined()) hidden = hidden | (distance > places.window.view({-1, 1, 1}));
  if (places.slope.defined()) bias = -places.slope.view({-1, 1, 1}) * distance;
  return bias.masked_fill(hidden, -std::numeric_limits<double>::infinity());
}

// q (B, H, Q, head), keys and values (B, H, K, head) -> (B, H, Q, head)
torch::Tensor attended(const torch::Tensor& q, const torch::Tensor& keys, const torch::Tensor& values,
                       const torch::Tensor& bias) {
  const torch::Tensor scores = torch::matmul(q, keys.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
  return torch::matmul(torch::softmax(scores + bias, 3), values);
}

// qkv, through which a bias that was added to it as a constant gets its gradient.
torch::Tensor with_gradient_of(const torch::Tensor& bias, const torch::Tensor& qkv) {
  return bias.defined() ? qkv + (bias - bias.detach()).view(qkv.sizes().slice(2)) : qkv;
}

// The CPU's kernels take no float16.
bool converts(const torch::Tensor& qkv) { return qkv.is_cpu() && qkv.scalar_type() == torch::kFloat16; }

}  // namespace

torch::Tensor causal_attention(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& bias) {
  if (converts(qkv)) return causal_attention(qkv.to(torch::kFloat32), places, bias).to(torch::kFloat16);
  if (!qkv.is_cpu() && !gpu::takes(qkv)) return composed_causal_attention(qkv, places, bias);
  const bool has_gradient = qkv.requires_grad() || (bias.defined() && bias.requires_grad());
  if (!torch::GradMode::is_enabled() || !has_gradient) return forward_kernel(qkv.contiguous(), contiguous(places), {});
  return AttentionFunction::apply(qkv.contiguous(), bias.defined() ? std::optional(bias) : std::nullopt,
                                  contiguous(places));
}

torch::Tensor composed_causal_attention(const torch::Tensor& given, const AttentionPlaces& places,
                                        const torch::Tensor& bias_of_qkv) {
  const torch::Tensor qkv = with_gradient_of(bias_of_qkv, given);
  const auto [batch, time, heads, head] = shape_of(qkv);
  const std::vector<torch::Tensor> parts = qkv.transpose(1, 2).unbind(3);  // each (B, H, T, head)
  const torch::Tensor q = counted_twice(rotated(parts[0], places.cos, places.sin), places);
  const torch::Tensor at = torch::arange(time, qkv.options().dtype(torch::kInt64));
  const torch::Tensor distance = (at.unsqueeze(1) - at).view({1, 1, time, time});
  const torch::Tensor mixed =
      attended(q, rotated(parts[1], places.cos, places.sin), parts[2], bias(places, distance, qkv.options()));
  return mixed.transpose(1, 2).reshape({batch, time, heads * head});
}

AttentionCache AttentionCache::make(int64_t batch, int64_t heads, int64_t max_tokens, int64_t head,
                                    torch::TensorOptions options) {
  const bool converted = options.device().is_cpu() && options.dtype() == torch::kFloat16;
  // Zeros, so that what was never written, times a weight of zero, is nothing in the composed step.
  const auto made = [&] {
    return torch::zeros({batch, heads, max_tokens, head}, converted ? options.dtype(torch::kFloat32) : options);
  };
  return {made(), made()};
}

void keep_prompts(const torch::Tensor& qkv, const AttentionPlaces& places, const AttentionCache& cache) {
  torch::NoGradGuard no_grad;
  const std::vector<torch::Tensor> parts = qkv.transpose(1, 2).unbind(3);
  cache.keys.narrow(2, 0, qkv.size(1)).copy_(rotated(parts[1], places.cos, places.sin));
  cache.values.narrow(2, 0, qkv.size(1)).copy_(parts[2]);
}

torch::Tensor attention_step(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& length,
                             const AttentionCache& cache) {
  torch::NoGradGuard no_grad;
  if (converts(qkv)) return attention_step(qkv.to(torch::kFloat32), places, length, cache).to(torch::kFloat16);
  if constexpr (gpu::built) {
    if (gpu::takes(qkv)) return gpu::attention_decode(qkv.contiguous(), contiguous(places), length, cache);
  }
  if (!qkv.is_cpu()) return composed_attention_step(qkv, places, length, cache);
  const kernels::AttentionDecodeShape shape{qkv.size(0), qkv.size(1), qkv.size(3), cache.keys.size(2)};
  TORCH_CHECK(length.max().item<int32_t>() < shape.max_tokens, "a sequence is longer than the cache has room for");
  torch::Tensor out = torch::empty({shape.batch, shape.heads * shape.head}, qkv.options());
  const torch::Tensor laid_out = qkv.contiguous();
  const AttentionPlaces laid_out_places = contiguous(places);
  with_element_type(qkv, [&](auto type) {
    using Element = decltype(type);
    kernels::attention_decode_cpu(shape, pointers<kernels::Sums<Element>>(laid_out_places), data<Element>(laid_out),
                                  data<int32_t>(length), mutable_data<Element>(cache.keys),
                                  mutable_data<Element>(cache.values), mutable_data<Element>(out));
  });
  return out;
}

torch::Tensor composed_attention_step(const torch::Tensor& qkv, const AttentionPlaces& places,
                                      const torch::Tensor& length, const AttentionCache& cache) {
  const std::vector<torch::Tensor> parts = qkv.unsqueeze(3).unbind(2);  // each (B, H, 1, head)
  const torch::Tensor place = length.to(torch::kInt64);
  const auto of_places = [&](const torch::Tensor& angles) {
    return angles.defined() ? angles.index_select(0, place).view({-1, 1, 1, angles.size(1)}) : angles;
  };
  const torch::Tensor cos = of_places(places.cos), sin = of_places(places.sin);
  const torch::Tensor distance =
      place.view({-1, 1, 1, 1}) - torch::arange(cache.keys.size(2), place.options());  // (B, 1, 1, M)
  const torch::Tensor here = (distance == 0).transpose(2, 3);
  cache.keys.copy_(torch::where(here, rotated(parts[1], cos, sin), cache.keys));
  cache.values.copy_(torch::where(here, parts[2], cache.values));
  const torch::Tensor q = counted_twice(rotated(parts[0], cos, sin), places);
  return attended(q, cache.keys, cache.values, bias(places, distance, qkv.options())).flatten(1);
}

}  // namespace recite
