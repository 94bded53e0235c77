#include "ops/product.h"

#include <vector>

#include "ops/bias_gelu.h"
#include "ops/gpu.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// (M, width), whose rows are one stride apart.
torch::Tensor rows_of(const torch::Tensor& x) {
  const torch::Tensor rows = x.dim() == 2 ? x : x.reshape({-1, x.size(-1)});
  return rows.stride(1) == 1 ? rows : rows.contiguous();
}

std::vector<int64_t> with_width(const std::vector<int64_t>& shape, int64_t width) {
  std::vector<int64_t> changed = shape;
  changed.back() = width;
  return changed;
}

class ProductFunction : public torch::autograd::Function<ProductFunction> {
 public:
  // The product and x.
  static tensor_list forward(AutogradContext* context, torch::Tensor x, torch::Tensor weight, torch::Tensor copy,
                             torch::Tensor gradient, std::optional<torch::Tensor> constant) {
    context->set_materialize_grads(false);
    const torch::Tensor rows = rows_of(x);
    context->save_for_backward({rows, weight, copy});
    context->saved_data["gradient"] = gradient;  // not a saved variable: what is written to it meanwhile is no mistake
    context->saved_data["shape"] = x.sizes().vec();
    if constexpr (gpu::built) {
      const torch::Tensor y = gpu::product(rows, copy, constant.value_or(torch::Tensor()));
      return {y.view(with_width(x.sizes().vec(), copy.size(0))), x};
    }
    throw std::logic_error("a product for GPUs in a build without them");
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const tensor_list saved = context->get_saved_variables();
    const RoundedWeight weight{saved[1], saved[2], context->saved_data["gradient"].toTensor()};
    torch::Tensor dx = gradients[1];
    if constexpr (gpu::built) {
      if (gradients[0].defined()) {
        const torch::Tensor dy = rows_of(gradients[0]);
        const bool adds = !weight.begin_gradient();
        gpu::product_weight_gradient(dy, saved[0], weight.weight.grad(), adds);
        if (context->needs_input_grad(0)) {
          const torch::Tensor others = dx.defined() ? dx.reshape({-1, dx.size(-1)}).contiguous() : dx;
          dx = gpu::product_input_gradient(dy, weight.copy, others).view(context->saved_data["shape"].toIntVector());
        }
      }
    }
    const torch::Tensor none;
    return {dx, none, none, none, none};
  }
};

// By a kernel for few rows, where there is one for all of them; else nothing.
std::vector<torch::Tensor> skinny_products(const std::vector<PlainProduct>& products) {
  std::vector<torch::Tensor> made;
  if constexpr (gpu::built) {
    std::vector<PlainProduct> of_rows;
    for (const auto& [x, weight, bias, gelu_bias] : products) {
      if (!x.is_cuda() || x.numel() == 0 || !x.options().type_equal(products.front().x.options())) return {};
      of_rows.push_back({rows_of(x), weight, bias, gelu_bias});
      if (!gpu::takes_skinny_product(of_rows.back().x, weight)) return {};
    }
    made = gpu::skinny_products(of_rows);
    for (size_t p = 0; p < made.size(); ++p)
      made[p] = made[p].view(with_width(products[p].x.sizes().vec(), made[p].size(1)));
  }
  return made;
}

}  // namespace

bool takes_product(const torch::Tensor& x, const torch::Tensor& copy) {
  constexpr int64_t multiple = 8;
  return gpu::takes(x) && x.scalar_type() == torch::kBFloat16 && copy.scalar_type() == torch::kBFloat16 &&
         copy.size(0) % multiple == 0 && copy.size(1) % multiple == 0 && x.stride(-2) % multiple == 0;
}

torch::Tensor product(const torch::Tensor& x, const RoundedWeight& weight, const torch::Tensor& constant) {
  return product_and_input(x, weight, constant).product;
}

ProductAndInput product_and_input(const torch::Tensor& x, const RoundedWeight& weight, const torch::Tensor& constant) {
  const tensor_list both = ProductFunction::apply(x, weight.weight, weight.copy, weight.gradient,
                                                  constant.defined() ? std::optional(constant) : std::nullopt);
  return {both[0], both[1]};
}

torch::Tensor plain_product(const PlainProduct& of) {
  const std::vector<torch::Tensor> made = skinny_products({of});
  if (!made.empty()) return made.front();
  const torch::Tensor y = torch::linear(of.x, of.weight, of.bias);
  return of.gelu_bias.defined() ? bias_gelu(y, of.gelu_bias) : y;
}

std::pair<torch::Tensor, torch::Tensor> plain_products(const PlainProduct& first, const PlainProduct& second) {
  const std::vector<torch::Tensor> made = skinny_products({first, second});
  if (!made.empty()) return {made[0], made[1]};
  return {plain_product(first), plain_product(second)};
}

}  // namespace recite
