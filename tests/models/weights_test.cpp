// Initial weights, counts, names and loading.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "jobs/job.h"
#include "tests/models/reference.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::Tensor;

ModelSpec spec_of(Architecture architecture, int hidden_size, int layers) {
  ModelSpec spec;
  spec.architecture = architecture;
  spec.hidden_size = hidden_size;
  spec.layers = layers;
  return spec;
}

std::map<std::string, Tensor> initial_weights(const ModelSpec& spec, uint64_t seed = 1) {
  const auto model = make_model(spec, 30, Precision::float64, torch::kCPU, seed);
  std::map<std::string, Tensor> weights;
  for (const Parameter& p : model->parameters()) weights[p.name] = p.tensor.detach();
  return weights;
}

// Whether the values could be N(0, deviation): mean, deviation and the share within one deviation, each within four
// standard errors.
void expect_normal(const Tensor& weight, double deviation) {
  const double n = static_cast<double>(weight.numel()), error = 4 / std::sqrt(n);
  EXPECT_NEAR(weight.mean().item<double>() / deviation, 0, error);
  EXPECT_NEAR(weight.std().item<double>() / deviation, 1, error);
  EXPECT_NEAR((weight.abs() < deviation).to(torch::kFloat64).mean().item<double>(), 0.6827, 0.47 * error);
}

// Whether the values could be uniform in +-bound.
void expect_uniform(const Tensor& weight, double bound) {
  const double n = static_cast<double>(weight.numel()), error = 4 / std::sqrt(n);
  EXPECT_LE(weight.abs().max().item<double>(), bound);
  EXPECT_NEAR(weight.mean().item<double>() / bound, 0, 0.58 * error);
  EXPECT_NEAR(weight.square().mean().item<double>() / (bound * bound), 1.0 / 3, 0.3 * error);
}

void expect_constant(const Tensor& weight, double value) { EXPECT_TRUE((weight == value).all().item<bool>()); }

TEST(InitialWeights, OfTransformersAreNormalWithBiasesOfZero) {
  for (const auto& [name, weight] : initial_weights(spec_of(Architecture::rope, 64, 2))) {
    SCOPED_TRACE(name);
    if (name.ends_with(".bias"))
      expect_constant(weight, 0);
    else if (weight.dim() == 1)
      expect_constant(weight, 1);
    else
      expect_normal(weight, 0.02);
  }
}

TEST(InitialWeights, OfMambaFollowItsRules) {
  auto w = initial_weights(spec_of(Architecture::mamba, 96, 4));
  const std::string mixer = "backbone.layers.2.mixer.";
  expect_normal(w.at("backbone.embeddings.weight"), 0.02);
  expect_constant(w.at("backbone.norm_f.weight"), 1);
  expect_constant(w.at("backbone.layers.2.norm.weight"), 1);
  expect_constant(w.at(mixer + "D"), 1);
  const Tensor counted = torch::arange(1, 33, torch::kFloat64).expand({192, 32});
  EXPECT_TRUE(torch::allclose(torch::exp(w.at(mixer + "A_log")), counted));
  expect_uniform(w.at(mixer + "in_proj.weight"), 1 / std::sqrt(96.0));
  expect_uniform(w.at(mixer + "conv1d.weight"), 0.5);
  expect_uniform(w.at(mixer + "conv1d.bias"), 0.5);
  expect_uniform(w.at(mixer + "x_proj.weight"), 1 / std::sqrt(192.0));
  expect_uniform(w.at(mixer + "dt_proj.weight"), 1 / std::sqrt(6.0));
  expect_uniform(w.at(mixer + "out_proj.weight"), 1 / std::sqrt(192.0) / std::sqrt(4.0));
  // Steps between 1e-3 and 1e-1: their decimal logarithm is uniform in -3..-1.
  expect_uniform(torch::log10(torch::softplus(w.at(mixer + "dt_proj.bias"))) + 2, 1 + 1e-9);
}

TEST(InitialWeights, OfLstmsFollowTheirRules) {
  auto w = initial_weights(spec_of(Architecture::lstm, 48, 2));
  expect_uniform(w.at("embedding.weight"), 0.1);
  expect_uniform(w.at("head.weight"), 1 / std::sqrt(48.0));
  expect_constant(w.at("head.bias"), 0);
  for (const char* name : {"lstm.weight_ih_l0", "lstm.weight_hh_l1", "lstm.bias_ih_l1", "lstm.bias_hh_l0"}) {
    SCOPED_TRACE(name);
    expect_uniform(w.at(name), 1 / std::sqrt(48.0));
  }
}

TEST(InitialWeights, DependOnTheSeedAndTheParameterAlone) {
  const ModelSpec spec = spec_of(Architecture::nope, 160, 1);  // some weights are longer than one block
  const int threads = at::get_num_threads();
  const auto first = initial_weights(spec);
  at::set_num_threads(1);
  const auto second = initial_weights(spec);
  at::set_num_threads(threads);
  const auto other = initial_weights(spec, 2);
  for (const auto& [name, weight] : first) {
    EXPECT_TRUE(torch::equal(weight, second.at(name))) << name;
    if (weight.dim() == 2) {
      EXPECT_FALSE(torch::equal(weight, other.at(name))) << name;
    }
  }
  EXPECT_FALSE(torch::equal(first.at("gpt_neox.embed_in.weight"), first.at("embed_out.weight")));
  const Tensor mlp = first.at("gpt_neox.layers.0.mlp.dense_h_to_4h.weight").view(-1);
  EXPECT_FALSE(torch::equal(mlp.slice(0, 0, 100), mlp.slice(0, 1 << 16, (1 << 16) + 100)));
}

TEST(ParameterCount, AtThePapersSize) {
  const auto count = [](ModelSpec spec) {
    return make_model(spec, 30, Precision::float32, torch::kMeta)->parameter_count();
  };
  const auto millions = [&](const ModelSpec& spec) { return std::round(static_cast<double>(count(spec)) / 1e5) / 10; };
  EXPECT_EQ(millions(spec_of(Architecture::rope, 1024, 12)), 151.2);
  EXPECT_EQ(millions(spec_of(Architecture::mamba, 1024, 12)), 81.2);
  EXPECT_EQ(millions(spec_of(Architecture::mamba, 1024, 24)), 162.4);
  EXPECT_EQ(millions(spec_of(Architecture::lstm, 1024, 4)), 33.6);
}

TEST(ParameterCount, IsWhatJobsSay) {
  for (const auto& [name, spec] : reference::specs())
    for (const int letters : {1, 4, 26}) {
      TaskSpec task;
      task.vocab_size = letters;
      const auto model = make_model(spec, vocabulary_size(task), Precision::float32, torch::kMeta);
      EXPECT_EQ(model->parameter_count(), parameter_count(spec, task)) << name << ", " << letters << " letters";
    }
}

TEST(Model, IsNotTrainedInFloat16) {
  EXPECT_THAT([&] { make_model(spec_of(Architecture::rope, 64, 1), 30, Precision::float16, torch::kCPU); },
              ThrowsMessage<UsageError>(HasSubstr("float16")));
}

TEST(Model, RefusesNumbersThatDoNotFitTogether) {
  ModelSpec spec = spec_of(Architecture::rope, 64, 1);
  spec.heads = 7;
  EXPECT_THAT([&] { make_model(spec, 30, Precision::float32, torch::kCPU); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("model.heads = 7"), HasSubstr("64"))));
  spec = spec_of(Architecture::lstm, 8, 1);
  spec.dropout = 1;
  EXPECT_THAT([&] { make_model(spec, 30, Precision::float32, torch::kCPU); },
              ThrowsMessage<UsageError>(HasSubstr("model.dropout = 1")));
}

class LoadParameters : public testing::Test {
 protected:
  using Named = std::vector<std::pair<std::string, Tensor>>;

  void SetUp() override {
    model_ = make_model(spec_of(Architecture::mamba, 8, 1), 5, Precision::float32, torch::kCPU);
    for (const Parameter& p : model_->parameters()) given_.emplace_back(p.name, torch::randn_like(p.tensor).detach());
  }
  void expect_refused(const std::string& what) {
    EXPECT_THAT([&] { load_parameters(*model_, given_); }, ThrowsMessage<Error>(HasSubstr(what)));
    for (const Parameter& p : model_->parameters()) expect_constant(p.tensor, 0);
  }

  std::unique_ptr<Model> model_;
  Named given_;
};

TEST_F(LoadParameters, CopiesEveryTensorInAnyOrder) {
  std::reverse(given_.begin(), given_.end());
  load_parameters(*model_, given_);
  std::map<std::string, Tensor> expected(given_.begin(), given_.end());
  for (const Parameter& p : model_->parameters()) {
    EXPECT_TRUE(torch::equal(p.tensor, expected.at(p.name))) << p.name;
    EXPECT_TRUE(p.tensor.is_leaf() && p.tensor.requires_grad());
  }
}

TEST_F(LoadParameters, NamesWhatIsMissing) {
  given_.pop_back();
  expect_refused("'backbone.norm_f.weight'");
}

TEST_F(LoadParameters, NamesWhatIsTooMuch) {
  given_.emplace_back("lm_head.weight", torch::zeros({8, 8}));
  expect_refused("'lm_head.weight'");
}

TEST_F(LoadParameters, NamesWhatIsThereTwice) {
  given_.push_back(given_.front());
  expect_refused("'backbone.embeddings.weight' twice");
}

TEST_F(LoadParameters, NamesWhatHasAnotherShape) {
  given_.back().second = torch::zeros({9});
  expect_refused("'backbone.norm_f.weight' has shape (9); the model wants (8)");
}

}  // namespace
}  // namespace recite
