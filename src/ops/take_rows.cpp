#include "ops/take_rows.h"

#include "ops/gpu.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class TakeRowsFunction : public torch::autograd::Function<TakeRowsFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, torch::Tensor x, torch::Tensor at) {
    context->save_for_backward({at.contiguous()});
    context->saved_data["shape"] = x.sizes().vec();
    return x.flatten(0, -2).index_select(0, at);
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const torch::Tensor at = context->get_saved_variables()[0];
    const std::vector<int64_t> shape = context->saved_data["shape"].toIntVector();
    if constexpr (gpu::built) {
      if (gpu::takes(gradients[0])) return {gpu::put_rows(gradients[0].contiguous(), at, shape), torch::Tensor()};
    }
    const torch::Tensor dx = torch::zeros(shape, gradients[0].options());
    dx.flatten(0, -2).index_copy_(0, at, gradients[0]);
    return {dx, torch::Tensor()};
  }
};

}  // namespace

torch::Tensor take_rows(const torch::Tensor& x, const torch::Tensor& at) { return TakeRowsFunction::apply(x, at); }

}  // namespace recite
