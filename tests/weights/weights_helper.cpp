// The C++ side of transformers_test.py.
//
//   weights_helper save ARCHITECTURE FOLDER   a model with random weights as FOLDER, its logits in FOLDER.expected
//   weights_helper copy FROM TO               reads a safetensors file and writes what it read
#include <torch/torch.h>

#include <cstdio>
#include <exception>
#include <string>

#include "base/error.h"
#include "weights/pretrained_folder.h"
#include "weights/safetensors.h"

namespace {

using namespace recite;

// Far from their initial values, where a swapped bias or norm would not be seen.
void randomise(const Model& model) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(3);
  for (const Parameter& parameter : model.parameters())
    parameter.tensor.add_(torch::randn_like(parameter.tensor) * 0.2);
}

void save(const std::string& architecture, const std::string& folder) {
  Job job;
  job.task.vocab_size = 21;
  job.model.architecture = parse_name<Architecture>(architecture);
  job.model.hidden_size = 48;
  job.model.layers = 3;
  job.model.heads = 4;
  job.model.num_masked_heads = 2;
  job.model.state_dim = 6;
  const auto model = make_model(job.model, vocabulary_size(job.task), Precision::float32, torch::kCPU, 5);
  randomise(*model);
  save_model_folder(folder, *model, job, 10, 20);

  const torch::NoGradGuard no_grad;
  const torch::Tensor tokens = torch::randint(model->vocabulary(), {3, 37}, torch::kInt64);
  TensorFile expected;
  expected.tensors = {{"tokens", tokens}, {"logits", model->forward(tokens, {})}};
  write_safetensors(folder + ".expected", expected);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string verb = argc == 4 ? argv[1] : "";
  if (verb == "save") {
    save(argv[2], argv[3]);
  } else if (verb == "copy") {
    write_safetensors(argv[3], read_safetensors(argv[2]));
  } else {
    throw UsageError("usage: weights_helper save ARCHITECTURE FOLDER | copy FROM TO");
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
