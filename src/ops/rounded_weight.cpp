#include "ops/rounded_weight.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class RoundedWeightFunction : public torch::autograd::Function<RoundedWeightFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, torch::Tensor weight, torch::Tensor copy,
                               std::optional<torch::Tensor> gradient) {
    context->save_for_backward({weight});
    // Not a saved variable: what is written to it meanwhile is no mistake.
    context->saved_data["gradient"] = gradient.value_or(torch::Tensor());
    return copy.view_as(copy);
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const RoundedWeight of{context->get_saved_variables()[0], {}, context->saved_data["gradient"].toTensor()};
    torch::Tensor made;  // for autograd to add
    if (!of.gradient.defined())
      made = gradients[0].to(of.weight.scalar_type());
    else if (of.begin_gradient())
      of.gradient.copy_(gradients[0]);
    else
      of.weight.grad().add_(gradients[0]);
    return {made, {}, {}};
  }
};

}  // namespace

bool RoundedWeight::begin_gradient() const {
  if (weight.grad().defined()) return false;
  torch::Tensor(weight).mutable_grad() = gradient;
  return true;
}

torch::Tensor rounded_weight(const RoundedWeight& weight) {
  if (!torch::GradMode::is_enabled() || !weight.weight.requires_grad()) return weight.copy;
  const torch::Tensor& gradient = weight.gradient;
  return RoundedWeightFunction::apply(weight.weight, weight.copy,
                                      gradient.defined() ? std::optional(gradient) : std::nullopt);
}

}  // namespace recite
