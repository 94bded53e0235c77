// The same training on the ranks of a group and on one.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "train/trainer.h"

namespace recite {

inline std::vector<torch::Tensor> weights_of(Model& model) {
  std::vector<torch::Tensor> weights;
  for (const Parameter& parameter : model.parameters()) weights.push_back(parameter.tensor.detach().clone());
  return weights;
}

// NaN anywhere counts as infinitely far.
inline double relative_difference(double a, double b) {
  const double difference = std::abs(a - b) / std::max(std::abs(b), 1e-300);
  return difference <= std::numeric_limits<double>::max() ? difference : std::numeric_limits<double>::infinity();
}

// |a - b| / |b|, Euclidean, over all tensors at once.
inline double relative_difference(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const torch::Tensor reference = b[i].to(torch::kFloat64);
    difference += (a[i].to(torch::kFloat64) - reference).square().sum().item<double>();
    size += reference.square().sum().item<double>();
  }
  return relative_difference(std::sqrt(size) + std::sqrt(difference), std::sqrt(size));
}

struct RankDifference {
  double losses = 0;         // the largest relative difference of a step's loss
  double grad_norms = 0;     // ... and of its gradient norm
  double weights = 0;        // after the last step
  bool counts_equal = true;  // examples, tokens, learning rate of every step
};

// Trains `job` to its end on `group` and, on each rank again, alone. Called by every rank of the group.
inline RankDifference compare_with_one_rank(const Job& job, Group group, torch::Device device = torch::kCPU) {
  SoloCollective solo;
  Trainer together(job, device, group);
  Trainer alone(job, device, {solo, solo});
  RankDifference difference;
  while (!alone.finished()) {
    const StepReport a = together.step(), b = alone.step();
    difference.losses = std::max(difference.losses, relative_difference(a.loss, b.loss));
    difference.grad_norms = std::max(difference.grad_norms, relative_difference(a.grad_norm, b.grad_norm));
    difference.counts_equal = difference.counts_equal && a.step == b.step && a.examples == b.examples &&
                              a.tokens == b.tokens && a.learning_rate == b.learning_rate;
  }
  difference.weights = relative_difference(weights_of(together.model()), weights_of(alone.model()));
  return difference;
}

}  // namespace recite
