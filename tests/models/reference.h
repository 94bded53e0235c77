// The architectures written down plainly, in float64 and one row at a time, for the tests to compare with.
// Differentiable by LibTorch's autograd.
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "models/model.h"

namespace recite::reference {

// tokens (T) -> logits (T, V). `dropout` (LSTM): what the input of each layer but the first is multiplied by, each
// (T, hidden), or empty.
torch::Tensor logits(const Model& model, const torch::Tensor& tokens, const std::vector<torch::Tensor>& dropout = {});

// A model in float64 with every weight away from its special initial value.
std::unique_ptr<Model> random_model(const ModelSpec& spec, int64_t vocabulary,
                                    Precision precision = Precision::float64);

// Small specs that between them use every architecture and every rule.
struct NamedSpec {
  std::string name;
  ModelSpec spec;
};
std::vector<NamedSpec> specs();

double difference(const torch::Tensor& actual, const torch::Tensor& expected);

}  // namespace recite::reference
