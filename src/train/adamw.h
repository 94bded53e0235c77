// AdamW (Loshchilov and Hutter, arXiv 1711.05101): Adam with decoupled weight decay.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace recite {

struct AdamWStep {
  double learning_rate;
  int64_t t;           // 1..
  double divisor = 1;  // of the gradient, which is a sum of so many
  double limit = 0;    // of the divided gradient's norm, to which it is scaled down; 0: none
};

// With gradient g, divided and limited, update t, learning rate lr, decay d:
//   w -= lr * d * w
//   m = beta1 * m + (1 - beta1) * g          v = beta2 * v + (1 - beta2) * g^2
//   w -= lr * m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + epsilon)
// The decay takes every weight of the buffer.
class AdamW {
 public:
  static constexpr double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;

  // Moments of zero, laid out like `weights`.
  AdamW(const torch::Tensor& weights, double weight_decay);

  // In place; what the gradients hold afterwards counts for nothing. squared_norm: () float64, of the gradients as they
  // are; needed with a limit. `copies`: the new weights rounded to its type, or undefined. On a GPU one kernel does
  // all, and the host waits for nothing.
  void update(const torch::Tensor& weights, const torch::Tensor& gradients, const AdamWStep& step,
              const torch::Tensor& squared_norm = {}, const torch::Tensor& copies = {});

  const torch::Tensor& first_moments() const { return first_moments_; }
  const torch::Tensor& second_moments() const { return second_moments_; }

 private:
  torch::Tensor first_moments_;
  torch::Tensor second_moments_;
  double weight_decay_;
};

}  // namespace recite
