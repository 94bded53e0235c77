#include "ops/embed.h"

#include "ops/gpu.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class EmbedFunction : public torch::autograd::Function<EmbedFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, torch::Tensor weight, torch::Tensor tokens) {
    context->save_for_backward({tokens});
    context->saved_data["vocabulary"] = weight.size(0);
    return torch::embedding(weight, tokens);
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const torch::Tensor tokens = context->get_saved_variables()[0], none;
    const int64_t vocabulary = context->saved_data["vocabulary"].toInt();
    if constexpr (gpu::built) {
      if (gpu::takes_embedding(gradients[0], vocabulary))
        return {gpu::embedding_gradient(gradients[0].contiguous(), tokens.contiguous(), vocabulary), none};
    }
    // On the CPU it would add in the gradient's own precision.
    const torch::ScalarType element = gradients[0].scalar_type();
    const torch::Tensor rows = element == torch::kBFloat16 ? gradients[0].to(torch::kFloat32) : gradients[0];
    const torch::Tensor sums = at::embedding_dense_backward(rows, tokens, vocabulary, /*padding_idx=*/-1,
                                                            /*scale_grad_by_freq=*/false);
    return {sums.to(element), none};
  }
};

}  // namespace

torch::Tensor embed(const torch::Tensor& weight, const torch::Tensor& tokens) {
  if (!torch::GradMode::is_enabled() || !weight.requires_grad()) return torch::embedding(weight, tokens);
  return EmbedFunction::apply(weight, tokens);
}

}  // namespace recite
