#include "generate/greedy.h"

#include <gtest/gtest.h>

namespace recite {
namespace {

using torch::Tensor;

constexpr int64_t vocabulary = 9;

// Weights large enough that the argmax is not decided by rounding.
std::unique_ptr<Model> sharp_model(Architecture architecture) {
  ModelSpec spec;
  spec.architecture = architecture;
  spec.hidden_size = 24;
  spec.layers = 2;
  spec.heads = 3;
  spec.num_masked_heads = 2;
  spec.state_dim = 4;
  auto model = make_model(spec, vocabulary, Precision::float64, torch::kCPU, 1);
  torch::manual_seed(2);
  torch::NoGradGuard no_grad;
  // A random LSTM with smaller weights soon repeats one token, whatever it reads.
  const double deviation = architecture == Architecture::lstm ? 2.0 : 0.3;
  for (const Parameter& parameter : model->parameters())
    parameter.tensor.add_(deviation * torch::randn_like(parameter.tensor));
  return model;
}

class GreedyDecode : public testing::TestWithParam<Architecture> {};

TEST_P(GreedyDecode, IsTheArgmaxOfAForwardPassOverAllThatWasRead) {
  const auto model = sharp_model(GetParam());
  const Tensor prompts = torch::randint(0, vocabulary, {4, 11}, torch::kInt64);
  const Tensor decoded = greedy_decode(*model, prompts, 8);
  ASSERT_EQ(decoded.sizes(), torch::IntArrayRef({4, 8}));
  Tensor all = prompts;
  for (int64_t i = 0; i < 8; ++i) {
    const Tensor logits = model->forward(all, {}).select(1, all.size(1) - 1).narrow(1, 0, vocabulary);
    all = torch::cat({all, logits.argmax(1, true)}, 1);
  }
  EXPECT_TRUE(torch::equal(decoded, all.narrow(1, 11, 8))) << decoded;
  EXPECT_GT(std::get<0>(at::_unique(decoded)).numel(), 1) << "decodes one token for ever: the test shows nothing";
}

TEST_P(GreedyDecode, OfABatchIsThatOfEachRowAlone) {
  const auto model = sharp_model(GetParam());
  const Tensor prompts = torch::randint(0, vocabulary, {5, 3}, torch::kInt64);
  const Tensor decoded = greedy_decode(*model, prompts, 12);
  for (int64_t b = 0; b < 5; ++b)
    EXPECT_TRUE(torch::equal(greedy_decode(*model, prompts.narrow(0, b, 1), 12)[0], decoded[b]));
}

TEST_P(GreedyDecode, TakesAnyCount) {
  const auto model = sharp_model(GetParam());
  const Tensor prompts = torch::randint(0, vocabulary, {2, 1}, torch::kInt64);
  EXPECT_EQ(greedy_decode(*model, prompts, 0).sizes(), torch::IntArrayRef({2, 0}));
  EXPECT_TRUE(torch::equal(greedy_decode(*model, prompts, 1), greedy_decode(*model, prompts, 4).narrow(1, 0, 1)));
}

INSTANTIATE_TEST_SUITE_P(All, GreedyDecode,
                         testing::Values(Architecture::rope, Architecture::nope, Architecture::alibi,
                                         Architecture::hard_alibi, Architecture::mamba, Architecture::lstm),
                         [](const auto& architecture) { return std::string(name_of(architecture.param)); });

TEST(GreedyDecode, NeverPicksARowThatOnlyPadsTheVocabulary) {
  const auto model = sharp_model(Architecture::mamba);
  {
    // One of two opposite padding rows would win every argmax over the padded vocabulary.
    torch::NoGradGuard no_grad;
    const Tensor embedding = model->parameters().front().tensor;
    ASSERT_EQ(embedding.size(0), 16);
    embedding[vocabulary].fill_(100);
    embedding[vocabulary + 1].fill_(-100);
  }
  const Tensor prompts = torch::randint(0, vocabulary, {3, 4}, torch::kInt64);
  ASSERT_TRUE((model->forward(prompts, {}).argmax(2) >= vocabulary).all().item<bool>());
  EXPECT_LT(greedy_decode(*model, prompts, 10).max().item<int64_t>(), vocabulary);
}

}  // namespace
}  // namespace recite
