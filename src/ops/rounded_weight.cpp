#include "ops/rounded_weight.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class RoundedWeightFunction : public torch::autograd::Function<RoundedWeightFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, torch::Tensor weight, torch::Tensor copy) {
    context->save_for_backward({weight});
    return copy.view_as(copy);
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    torch::Tensor weight = context->get_saved_variables()[0];
    if (!weight.grad().defined()) return {gradients[0].to(weight.scalar_type()), torch::Tensor()};
    weight.mutable_grad().add_(gradients[0]);
    return {torch::Tensor(), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor rounded_weight(const torch::Tensor& weight, const torch::Tensor& copy) {
  if (!torch::GradMode::is_enabled() || !weight.requires_grad()) return copy;
  return RoundedWeightFunction::apply(weight, copy);
}

}  // namespace recite
