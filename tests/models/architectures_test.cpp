// Every architecture against the plain formulas of reference.cpp: logits and the gradient of every weight.
#include <gtest/gtest.h>

#include "models/attention_heads.h"
#include "tests/models/reference.h"

namespace recite {
namespace {

using reference::difference;
using torch::Tensor;

constexpr int64_t vocabulary = 7, large_vocabulary = small_vocabulary + 1;

Tensor random_tokens(int64_t rows, int64_t time) {
  torch::manual_seed(5);
  return torch::randint(0, vocabulary, {rows, time}, torch::kInt64);
}

Tensor reference_logits(const Model& model, const Tensor& tokens) {
  std::vector<Tensor> rows;
  for (int64_t b = 0; b < tokens.size(0); ++b) rows.push_back(reference::logits(model, tokens[b]));
  return torch::stack(rows);
}

std::vector<Tensor> leaves(const Model& model) {
  std::vector<Tensor> all;
  for (const Parameter& parameter : model.parameters()) all.push_back(parameter.tensor);
  return all;
}

class Architectures : public testing::TestWithParam<reference::NamedSpec> {};

void expect_formula(const ModelSpec& spec, int64_t rows, int64_t time, int64_t of_vocabulary = vocabulary) {
  const auto model = reference::random_model(spec, of_vocabulary);
  const Tensor tokens = random_tokens(rows, time);
  const Tensor expected = reference_logits(*model, tokens), actual = model->forward(tokens, {});
  ASSERT_EQ(actual.scalar_type(), torch::kFloat64);
  EXPECT_LE(difference(actual, expected), 1e-10) << "T = " << time;
  const Tensor weights = torch::randn_like(expected);
  const auto expected_gradients = torch::autograd::grad({(expected * weights).sum()}, leaves(*model));
  const auto actual_gradients = torch::autograd::grad({(actual * weights).sum()}, leaves(*model));
  for (size_t p = 0; p < expected_gradients.size(); ++p)
    EXPECT_LE(difference(actual_gradients[p], expected_gradients[p]), 1e-9)
        << model->parameters()[p].name << ", T = " << time;
}

TEST_P(Architectures, LogitsAndEveryGradientAreThoseOfTheFormula) {
  for (const int64_t time : {1, 2, 19}) expect_formula(GetParam().spec, 2, time);
  expect_formula(GetParam().spec, 2, 19, large_vocabulary);
}

TEST_P(Architectures, WantedPlacesAloneGiveTheSameLogitsAndGradients) {
  const Tensor tokens = random_tokens(3, 11);
  for (const auto& [of_vocabulary, wanted] : {std::pair{vocabulary, torch::tensor({0, 7, 10, 12, 32})},
                                              {vocabulary, torch::arange(33)},
                                              {vocabulary, torch::tensor({20})},
                                              {large_vocabulary, torch::tensor({0, 7, 10, 12, 32})}}) {
    const auto model = reference::random_model(GetParam().spec, of_vocabulary);
    ForwardContext context;
    context.wanted = wanted;
    const Tensor expected = model->forward(tokens, {}).flatten(0, 1).index_select(0, wanted);
    const Tensor actual = model->forward(tokens, context);
    ASSERT_EQ(actual.sizes(), expected.sizes());
    EXPECT_LE(difference(actual, expected), 1e-12);
    const Tensor weights = torch::randn_like(expected);
    const auto expected_gradients = torch::autograd::grad({(expected * weights).sum()}, leaves(*model));
    const auto actual_gradients = torch::autograd::grad({(actual * weights).sum()}, leaves(*model));
    for (size_t p = 0; p < expected_gradients.size(); ++p)
      EXPECT_LE(difference(actual_gradients[p], expected_gradients[p]), 1e-11) << model->parameters()[p].name;
  }
}

TEST_P(Architectures, LowerPrecisionsAreNearAndGiveFloat32) {
  const Tensor tokens = random_tokens(2, 19);
  const auto source = reference::random_model(GetParam().spec, vocabulary);
  const Tensor exact = source->forward(tokens, {});
  for (const auto& [precision, tolerance] :
       {std::pair{Precision::float32, 1e-4}, {Precision::tf32, 1e-4}, {Precision::bf16, 0.1}}) {
    const auto model = make_model(GetParam().spec, vocabulary, precision, torch::kCPU);
    std::vector<std::pair<std::string, Tensor>> weights;
    for (const Parameter& p : source->parameters()) weights.emplace_back(p.name, p.tensor);
    load_parameters(*model, weights);
    const Tensor logits = model->forward(tokens, {});
    EXPECT_EQ(logits.scalar_type(), torch::kFloat32);
    EXPECT_LE(difference(logits, exact), tolerance) << name_of(precision);
    logits.square().sum().backward();
    for (const Parameter& p : model->parameters()) {
      ASSERT_TRUE(p.tensor.grad().defined()) << p.name;
      EXPECT_EQ(p.tensor.grad().scalar_type(), torch::kFloat32) << p.name;
      EXPECT_TRUE(p.tensor.grad().isfinite().all().item<bool>()) << p.name;
    }
  }
}

TEST_P(Architectures, ForInferenceWeightsLieInThePrecisionThatComputes) {
  const Tensor tokens = random_tokens(2, 19);
  const auto source = reference::random_model(GetParam().spec, vocabulary);
  const Tensor exact = source->forward(tokens, {});
  for (const auto& [precision, dtype, tolerance] : {std::tuple{Precision::float32, torch::kFloat32, 1e-4},
                                                    {Precision::float16, torch::kFloat16, 0.02},
                                                    {Precision::bf16, torch::kBFloat16, 0.1}}) {
    const auto model = make_model(GetParam().spec, vocabulary, precision, torch::kCPU, ModelUse::inference);
    std::vector<std::pair<std::string, Tensor>> weights;
    for (const Parameter& p : source->parameters()) weights.emplace_back(p.name, p.tensor);
    load_parameters(*model, weights);
    int64_t narrow = 0;
    for (const Parameter& p : model->parameters()) {
      EXPECT_FALSE(p.tensor.requires_grad()) << p.name;
      if (p.tensor.scalar_type() == dtype) narrow += p.tensor.numel();
    }
    EXPECT_GT(narrow, model->parameter_count() * 3 / 4) << name_of(precision);
    const Tensor logits = model->forward(tokens, {});
    EXPECT_EQ(logits.scalar_type(), torch::kFloat32);
    EXPECT_LE(difference(logits, exact), tolerance) << name_of(precision);
    const auto cache = model->new_cache(2, 19);
    model->prefill(tokens.narrow(1, 0, 12), torch::full({2}, 12, torch::kInt64), *cache);
    for (int64_t t = 12; t < 18; ++t) model->step(tokens.select(1, t), *cache);
    EXPECT_LE(difference(model->step(tokens.select(1, 18), *cache), exact.select(1, 18)), tolerance);
  }
}

TEST_P(Architectures, GradientsHaveTheSameBitsAtEachCall) {
  const auto model = reference::random_model(GetParam().spec, vocabulary, Precision::float32);
  const Tensor tokens = random_tokens(4, 40);
  const auto gradients = [&] {
    return torch::autograd::grad({model->forward(tokens, {}).square().sum()}, leaves(*model));
  };
  const auto first = gradients(), second = gradients();
  for (size_t p = 0; p < first.size(); ++p)
    EXPECT_TRUE(torch::equal(first[p], second[p])) << model->parameters()[p].name;
}

INSTANTIATE_TEST_SUITE_P(All, Architectures, testing::ValuesIn(reference::specs()),
                         [](const auto& spec) { return spec.param.name; });

// Attention works in blocks of some hundred keys: a head with a narrow window sees nothing of most of them.
TEST(LongRows, LogitsAndEveryGradientAreThoseOfTheFormula) {
  for (const Architecture architecture : {Architecture::nope, Architecture::alibi, Architecture::hard_alibi}) {
    SCOPED_TRACE(name_of(architecture));
    ModelSpec spec;
    spec.architecture = architecture;
    spec.hidden_size = 12;
    spec.heads = 3;
    spec.layers = 1;
    spec.num_masked_heads = 2;
    expect_formula(spec, 1, 1134);
  }
}

TEST(AlibiSlopes, FollowThePublishedListsForPowersOfTwoAndMptsRuleForOthers) {
  const std::vector<double> eight = alibi_slopes(8);
  for (int h = 0; h < 8; ++h) EXPECT_DOUBLE_EQ(eight[h], std::pow(0.5, h + 1));
  EXPECT_EQ(alibi_slopes(1), std::vector<double>{std::pow(2.0, -8)});
  const std::vector<double> three = alibi_slopes(3);
  ASSERT_EQ(three.size(), 3u);
  EXPECT_DOUBLE_EQ(three[0], 1.0 / 16);
  EXPECT_DOUBLE_EQ(three[1], 1.0 / 256);
  EXPECT_DOUBLE_EQ(three[2], 1.0 / 4);
  EXPECT_EQ(alibi_slopes(12).size(), 12u);
}

TEST(AttentionWindows, AreTheNumberOfAMaskedHeadAndEverythingElsewhere) {
  ModelSpec spec;
  spec.heads = 4;
  for (const auto& [masked, expected] : std::vector<std::pair<int, std::vector<int64_t>>>{
           {0, {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}}, {2, {0, 1, INT64_MAX, INT64_MAX}}, {9, {0, 1, 2, 3}}}) {
    spec.num_masked_heads = masked;
    EXPECT_TRUE(torch::equal(attention_windows(spec, torch::kCPU), torch::tensor(expected))) << masked;
  }
}

}  // namespace
}  // namespace recite
