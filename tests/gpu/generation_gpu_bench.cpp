// Times of greedy generation on a GPU, as its callers pay them: whole calls of generate() by the clock on the wall, and
// for a token after the first the difference of two, so that the pass over the prompts is no part of it; that a step is
// recorded is. Models have the shapes of published ones and random weights.
//
// Rows and the first argument are those of bench.h; the second: how many tokens each prompt gets [128].
#include <torch/torch.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "generate/generate.h"
#include "tests/gpu/bench.h"

namespace recite {
namespace {

using Texts = std::vector<std::vector<int32_t>>;

constexpr int64_t prompt_length = 128;

struct Shape {
  const char* name;
  int64_t vocabulary;
  ModelSpec spec;
};

Shape pythia(const char* name, int hidden, int layers, int heads) {
  ModelSpec spec;
  spec.architecture = Architecture::rope;
  spec.hidden_size = hidden;
  spec.layers = layers;
  spec.heads = heads;
  return {name, 50304, spec};
}

Shape mamba(const char* name, int hidden, int layers) {
  ModelSpec spec;
  spec.architecture = Architecture::mamba;
  spec.hidden_size = hidden;
  spec.layers = layers;
  spec.state_dim = 16;
  return {name, 50280, spec};
}

// Drawn on the GPU: initialise() draws on the host, for billions of weights too slowly.
std::unique_ptr<Model> random_model(const Shape& shape) {
  auto model = make_model(shape.spec, shape.vocabulary, Precision::bf16, torch::kCUDA, ModelUse::inference);
  for (const auto& [name, tensor, computed] : model->parameters()) {
    const bool of_norm = name.find("norm") != std::string::npos && name.ends_with(".weight");
    of_norm ? tensor.fill_(1) : tensor.normal_(0, 0.02);
  }
  return model;
}

Texts random_prompts(int64_t batch, int64_t vocabulary) {
  Texts prompts;
  for (int64_t row = 0; row < batch; ++row) {
    const torch::Tensor tokens = torch::randint(vocabulary, {prompt_length}, torch::kInt32);
    prompts.emplace_back(tokens.const_data_ptr<int32_t>(), tokens.const_data_ptr<int32_t>() + prompt_length);
  }
  return prompts;
}

// The weights that a step reads: all, but of an embedding that is no output matrix a row for each token alone.
double weight_bytes(const Model& model) {
  double bytes = 0;
  for (const auto& [name, tensor, computed] : model.parameters())
    if (name != "gpt_neox.embed_in.weight") bytes += static_cast<double>(tensor.nbytes());
  return bytes;
}

// What a step reads and writes of a row's cache: keys and values of `length` tokens, or states and what the convolution
// has in view, both of which change.
double cache_bytes(const ModelSpec& spec, double length) {
  const double layers = spec.layers, inner = static_cast<double>(spec.inner_size());
  if (spec.architecture == Architecture::mamba)
    return 2 * layers * inner * (4.0 * spec.state_dim + 2.0 * (spec.conv_width - 1));
  return layers * 2 * spec.hidden_size * 2 * length;
}

double seconds_of(Model& model, const Texts& prompts, int64_t tokens) {
  const Clock::time_point begin = Clock::now();
  generate(model, prompts, std::vector<int64_t>(prompts.size(), tokens), {});
  return seconds_since(begin);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void bench(Model& model, kernels::BenchRow row, int64_t batch, int64_t tokens) {
  constexpr int runs = 5;
  const Texts prompts = random_prompts(batch, model.vocabulary());
  seconds_of(model, prompts, tokens);  // warms up
  std::vector<double> first, all;
  for (int i = 0; i < runs; ++i) {
    first.push_back(seconds_of(model, prompts, 1));
    all.push_back(seconds_of(model, prompts, tokens));
  }
  const double microseconds = 1e6 * (median(all) - median(first)) / static_cast<double>(tokens - 1);
  const double mean_length = prompt_length + static_cast<double>(tokens) / 2;
  row.bytes = weight_bytes(model) + static_cast<double>(batch) * cache_bytes(model.spec(), mean_length);

  std::fprintf(stderr, "%-70s %9.1f us %7.0f MB, %.0f GB/s; first token after %.1f ms\n", row.text().c_str(),
               microseconds, row.bytes / 1e6, row.bytes / microseconds / 1e3, 1e3 * median(first));
  const nlohmann::ordered_json line = {
      {"operation", row.operation},   {"shape", row.shape}, {"dtype", row.dtype}, {"direction", row.direction},
      {"microseconds", microseconds}, {"bytes", row.bytes}, {"flops", row.flops}};
  std::puts(line.dump().c_str());
  std::fflush(stdout);
}

}  // namespace
}  // namespace recite

int main(int argc, char** argv) {
  using namespace recite;
  const std::string wanted = argc > 1 ? argv[1] : "";
  const int64_t tokens = argc > 2 ? std::atoll(argv[2]) : 128;
  if (tokens < 2) {
    std::fprintf(stderr, "%s [PART OF A ROW'S TEXT [TOKENS, 2 at least]]\n", argv[0]);
    return 2;
  }
  torch::manual_seed(1);
  for (const Shape& shape : {pythia("pythia-410m", 1024, 24, 16), pythia("pythia-2.8b", 2560, 32, 32),
                             mamba("mamba-370m", 1024, 48), mamba("mamba-2.8b", 2560, 64)}) {
    std::unique_ptr<Model> model;
    for (const int64_t batch : {1, 32}) {
      const kernels::BenchRow row{"generation",
                                  {{"model", shape.name}, {"B", batch}, {"prompt", prompt_length}, {"tokens", tokens}},
                                  "bf16",
                                  "token",
                                  0};
      if (row.text().find(wanted) == std::string::npos) continue;
      if (!model) model = random_model(shape);
      bench(*model, row, batch, tokens);
    }
  }
}
