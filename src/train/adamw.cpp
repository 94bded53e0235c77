#include "train/adamw.h"

namespace recite {

AdamW::AdamW(const torch::Tensor& weights, double weight_decay)
    : first_moments_(torch::zeros_like(weights)),
      second_moments_(torch::zeros_like(weights)),
      weight_decay_(weight_decay) {}

void AdamW::update(const torch::Tensor& weights, const torch::Tensor& gradients, double learning_rate, int64_t t) {
  const torch::Tensor step = torch::full({}, static_cast<double>(t), weights.options().dtype(torch::kFloat32));
  at::_fused_adamw_({weights}, {gradients}, {first_moments_}, {second_moments_}, /*max_exp_avg_sqs=*/{}, {step},
                    learning_rate, beta1, beta2, weight_decay_, epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace recite
