// Logits and gradients of models whose weights come from elsewhere, for a test that compares them with another library.
//
//   models_oracle FOLDER
//
// FOLDER/cases.json lists {"name", "spec", "vocabulary"}. For each, NAME.in.safetensors holds the weights by name,
// "tokens" (B, T) and "logit_weights" (B, T, V); written is NAME.out.safetensors: "logits", and "gradient.WEIGHT" of
// sum(logits * logit_weights) for every weight that has one.
#include <torch/torch.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/model.h"
#include "weights/safetensors.h"

namespace {

using namespace recite;

void run_case(const std::string& path, const nlohmann::json& description) {
  auto model = make_model(description.at("spec").get<ModelSpec>(), description.at("vocabulary").get<int64_t>(),
                          Precision::float32, torch::kCPU);
  torch::Tensor tokens, logit_weights;
  std::vector<std::pair<std::string, torch::Tensor>> weights;
  for (const auto& [name, tensor] : read_safetensors(path + ".in.safetensors").tensors) {
    if (name == "tokens")
      tokens = tensor;
    else if (name == "logit_weights")
      logit_weights = tensor;
    else
      weights.emplace_back(name, tensor);
  }
  load_parameters(*model, weights);

  const torch::Tensor logits = model->forward(tokens, {});
  (logits * logit_weights).sum().backward();
  TensorFile out;
  out.tensors.emplace_back("logits", logits.detach().contiguous());
  for (const Parameter& parameter : model->parameters())
    if (parameter.tensor.grad().defined())
      out.tensors.emplace_back("gradient." + parameter.name, parameter.tensor.grad().contiguous());
  write_safetensors(path + ".out.safetensors", out);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) throw UsageError("usage: models_oracle FOLDER");
  const std::string folder = argv[1];
  for (const auto& description : nlohmann::json::parse(std::ifstream(folder + "/cases.json")))
    run_case(folder + "/" + description.at("name").get<std::string>(), description);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
