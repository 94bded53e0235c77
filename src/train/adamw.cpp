#include "train/adamw.h"

#include <algorithm>
#include <cmath>

#include "ops/gpu.h"

namespace recite {

AdamW::AdamW(const torch::Tensor& weights, double weight_decay)
    : first_moments_(torch::zeros_like(weights)),
      second_moments_(torch::zeros_like(weights)),
      weight_decay_(weight_decay) {}

void AdamW::update(const torch::Tensor& weights, const torch::Tensor& gradients, const AdamWStep& step,
                   const torch::Tensor& squared_norm, const torch::Tensor& copies) {
  if constexpr (gpu::built) {
    if (gpu::takes(weights))
      return gpu::adamw({weights, gradients, first_moments_, second_moments_, copies},
                        {step.learning_rate, weight_decay_, step.t, step.divisor, step.limit, beta1, beta2, epsilon},
                        squared_norm);
  }
  double factor = 1 / step.divisor;
  if (step.limit > 0)  // with the guard of the published training
    factor *= std::min(1.0, step.limit / (std::sqrt(squared_norm.item<double>()) / step.divisor + 1e-6));
  if (factor != 1) gradients.mul_(factor);
  const torch::Tensor t = torch::full({}, static_cast<double>(step.t), weights.options().dtype(torch::kFloat32));
  at::_fused_adamw_({weights}, {gradients}, {first_moments_}, {second_moments_}, /*max_exp_avg_sqs=*/{}, {t},
                    step.learning_rate, beta1, beta2, weight_decay_, epsilon, /*amsgrad=*/false, /*maximize=*/false);
  if (copies.defined()) torch::Tensor(copies).copy_(weights);
}

}  // namespace recite
