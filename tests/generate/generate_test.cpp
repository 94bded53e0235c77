#include "generate/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace recite {
namespace {

using torch::Tensor;
using Texts = std::vector<std::vector<int32_t>>;

constexpr int64_t vocabulary = 9;

ModelSpec spec_of(Architecture architecture) {
  ModelSpec spec;
  spec.architecture = architecture;
  spec.hidden_size = 24;
  spec.layers = 2;
  spec.heads = 3;
  spec.num_masked_heads = 2;
  spec.state_dim = 4;
  return spec;
}

// Weights large enough that the argmax is not decided by rounding.
std::unique_ptr<Model> sharp_model(const ModelSpec& spec, Precision precision) {
  auto model = make_model(spec, vocabulary, precision, torch::kCPU, 1);
  torch::manual_seed(2);
  torch::NoGradGuard no_grad;
  // A random LSTM with smaller weights soon repeats one token, whatever it reads.
  const double deviation = spec.architecture == Architecture::lstm ? 2.0 : 0.3;
  for (const Parameter& parameter : model->parameters())
    parameter.tensor.add_(deviation * torch::randn_like(parameter.tensor));
  return model;
}

std::vector<int32_t> random_prompt(int64_t length) {
  const Tensor tokens = torch::randint(0, vocabulary, {length}, torch::kInt32);
  return {tokens.data_ptr<int32_t>(), tokens.data_ptr<int32_t>() + length};
}

Texts random_prompts(const std::vector<int64_t>& lengths) {
  Texts prompts;
  for (const int64_t length : lengths) prompts.push_back(random_prompt(length));
  return prompts;
}

std::vector<int32_t> alone(Model& model, const std::vector<int32_t>& prompt, int64_t count) {
  return generate(model, {prompt}, {count}, {})[0];
}

// How many tokens of a text are beyond doubt: up to the first whose logit is within `near` of the second best.
size_t certain(Model& model, const std::vector<int32_t>& prompt, const std::vector<int32_t>& text, double near) {
  std::vector<int64_t> all(prompt.begin(), prompt.end());
  for (size_t i = 0; i < text.size(); ++i) {
    const Tensor logits = model.forward(torch::tensor(all).unsqueeze(0), {})[0][-1].narrow(0, 0, vocabulary);
    const Tensor best = std::get<0>(logits.topk(2));
    if (!((best[0] - best[1]).item<double>() > near)) return i;
    all.push_back(text[i]);
  }
  return text.size();
}

struct NamedSpec {
  std::string name;
  ModelSpec spec;
};

std::vector<NamedSpec> specs() {
  std::vector<NamedSpec> specs;
  for (const Architecture architecture : {Architecture::rope, Architecture::nope, Architecture::alibi,
                                          Architecture::hard_alibi, Architecture::mamba, Architecture::lstm})
    specs.push_back({std::string(name_of(architecture)), spec_of(architecture)});
  specs.push_back({"hard_alibi_quirk", spec_of(Architecture::hard_alibi)});
  specs.back().spec.score_quirk = ScoreQuirk::published;
  return specs;
}

class Generate : public testing::TestWithParam<NamedSpec> {};

TEST_P(Generate, IsTheArgmaxOfAForwardPassOverAllThatWasRead) {
  const auto model = sharp_model(GetParam().spec, Precision::float64);
  const Texts prompts = random_prompts({11, 1, 4});
  const Texts texts = generate(*model, prompts, {8, 13, 1}, {});
  for (size_t row = 0; row < 3; ++row) {
    ASSERT_EQ(texts[row].size(), (std::vector<size_t>{8, 13, 1})[row]);
    std::vector<int64_t> all(prompts[row].begin(), prompts[row].end());
    for (const int32_t token : texts[row]) {
      const Tensor logits = model->forward(torch::tensor(all).unsqueeze(0), {})[0][-1].narrow(0, 0, vocabulary);
      EXPECT_EQ(token, logits.argmax().item<int64_t>()) << "row " << row << " after " << all.size() << " tokens";
      all.push_back(token);
    }
  }
  EXPECT_NE(texts[1], std::vector<int32_t>(13, texts[1][0])) << "one token for ever: the test shows nothing";
}

// Rows leave the batch at several times.
TEST_P(Generate, InFloat32ABatchGivesTheTextOfEachAlone) {
  const auto model = sharp_model(GetParam().spec, Precision::float32);
  const Texts prompts = random_prompts({31, 1, 2, 17, 3, 8, 5, 1, 64});
  const std::vector<int64_t> counts{9, 30, 1, 2, 0, 17, 3, 5, 11};
  const Texts texts = generate(*model, prompts, counts, {});
  for (size_t row = 0; row < prompts.size(); ++row) {
    EXPECT_EQ(texts[row].size(), counts[row]);
    EXPECT_EQ(texts[row], alone(*model, prompts[row], counts[row])) << "row " << row;
    EXPECT_GE(2 * certain(*model, prompts[row], texts[row], 1e-4), texts[row].size()) << "decided by rounding";
  }
}

TEST_P(Generate, InBf16ItDoesUpToTheFirstTokenThatIsInDoubt) {
  const auto model = sharp_model(GetParam().spec, Precision::bf16);
  const Texts prompts = random_prompts({31, 1, 2, 17, 8});
  const Texts texts = generate(*model, prompts, std::vector<int64_t>(5, 20), {});
  size_t compared = 0;
  for (size_t row = 0; row < prompts.size(); ++row) {
    const std::vector<int32_t> own = alone(*model, prompts[row], 20);
    const auto count = static_cast<int64_t>(certain(*model, prompts[row], own, 1e-2));
    EXPECT_TRUE(std::equal(own.begin(), own.begin() + count, texts[row].begin())) << "row " << row;
    compared += static_cast<size_t>(count);
  }
  EXPECT_GT(compared, 20u) << "hardly anything was beyond doubt";
}

TEST_P(Generate, IsTheSameOnAnyNumberOfThreads) {
  const auto model = sharp_model(GetParam().spec, Precision::float32);
  const Texts prompts = random_prompts({31, 1, 12});
  const int threads = at::get_num_threads();
  std::vector<Texts> runs;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    runs.push_back(generate(*model, prompts, {12, 20, 5}, {}));
  }
  at::set_num_threads(threads);
  EXPECT_EQ(runs[1], runs[0]);
  EXPECT_EQ(runs[2], runs[0]);
}

INSTANTIATE_TEST_SUITE_P(All, Generate, testing::ValuesIn(specs()), [](const auto& spec) { return spec.param.name; });

TEST(GenerateOfMamba, NeverPicksARowThatOnlyPadsTheVocabulary) {
  const auto model = sharp_model(spec_of(Architecture::mamba), Precision::float64);
  {
    // One of two opposite padding rows would win every argmax over the padded vocabulary.
    torch::NoGradGuard no_grad;
    const Tensor embedding = model->parameters().front().tensor;
    ASSERT_EQ(embedding.size(0), 16);
    embedding[vocabulary].fill_(100);
    embedding[vocabulary + 1].fill_(-100);
  }
  const Texts prompts = random_prompts({4});
  const Tensor tokens = torch::tensor(std::vector<int64_t>(prompts[0].begin(), prompts[0].end()));
  ASSERT_GE(model->forward(tokens.unsqueeze(0), {})[0][-1].argmax().item<int64_t>(), vocabulary);
  EXPECT_THAT(alone(*model, prompts[0], 10), testing::Each(testing::Lt(vocabulary)));
}

// After token t comes t + 1. It notes how many rows each pass has.
class Counter final : public Model {
 public:
  Counter() : Model({}, ::recite::vocabulary, Precision::float32, torch::kCPU, ModelUse::inference) {
    add_parameter("nothing", {1}, {});
  }

  Tensor forward(const Tensor&, const ForwardContext&) override { throw std::logic_error("not for generation"); }
  std::unique_ptr<ModelCache> new_cache(int64_t batch, int64_t most) override {
    max_tokens = most;
    rows_left = batch;
    return std::make_unique<Rows>(*this);
  }
  Tensor prefill(const Tensor& tokens, const Tensor& lengths, ModelCache&) override {
    return logits_after(tokens.gather(1, lengths.unsqueeze(1) - 1).squeeze(1));
  }
  Tensor step(const Tensor& tokens, ModelCache&) override { return logits_after(tokens); }

  std::vector<int64_t> passes;
  int64_t max_tokens = 0, rows_left = 0;

 private:
  struct Rows : ModelCache {
    explicit Rows(Counter& model) : of(model) {}
    void keep(const Tensor& rows) override { of.rows_left = rows.size(0); }
    Counter& of;
  };

  Tensor logits_after(const Tensor& tokens) {
    EXPECT_EQ(tokens.size(0), rows_left);
    passes.push_back(rows_left);
    return torch::one_hot((tokens + 1) % vocabulary(), vocabulary()).to(torch::kFloat32);
  }
};

TEST(GenerateRows, GiveTheirOwnNumberOfTokensAndThenLeave) {
  Counter model;
  const Texts texts = generate(model, {{0}, {1, 2}, {4, 4, 4}, {3}, {0, 5}}, {2, 1, 6, 0, 3}, {});
  EXPECT_EQ(texts, (Texts{{1, 2}, {3}, {5, 6, 7, 8, 0, 1}, {}, {6, 7, 8}}));
  // Of 4 rows one has ended after the first pass and two after the second, when they leave; the third leaves one.
  EXPECT_EQ(model.passes, (std::vector<int64_t>{4, 4, 2, 1, 1, 1}));
  EXPECT_EQ(model.max_tokens, 3 + 6 - 1);
}

TEST(GenerateRows, EndWhenTheCallerSaysSo) {
  Counter model;
  std::vector<std::pair<int64_t, std::vector<int32_t>>> asked;
  const GenerateOptions options{.finished = [&](int64_t row, std::span<const int32_t> tokens) {
    asked.emplace_back(row, std::vector<int32_t>(tokens.begin(), tokens.end()));
    return row == 2 && tokens.back() == 4;
  }};
  EXPECT_EQ(generate(model, {{0}, {7}, {2}}, {2, 0, 9}, options), (Texts{{1, 2}, {}, {3, 4}}));
  const decltype(asked) expected{{0, {1}}, {2, {3}}, {0, {1, 2}}, {2, {3, 4}}};
  EXPECT_EQ(asked, expected);
  EXPECT_EQ(model.passes.size(), 2u);
}

TEST(GenerateRows, EndBeforeTheEndOfText) {
  Counter model;
  EXPECT_EQ(generate(model, {{4}, {6}, {8}}, {9, 9, 2}, {.end_of_text = 7}), (Texts{{5, 6}, {}, {0, 1}}));
}

TEST(GenerateRows, MayNotBeginWithTheEndOfText) {
  Counter model;
  // Of the others, all as unlikely, the first wins.
  EXPECT_EQ(generate(model, {{6}, {5}}, {4, 4}, {.end_of_text = 7, .suppress_end_first = true}),
            (Texts{{0, 1, 2, 3}, {6}}));
}

TEST(GenerateRows, MayBeNone) {
  Counter model;
  EXPECT_EQ(generate(model, {}, {}, {}), Texts());
  EXPECT_EQ(generate(model, {{1}, {2}}, {0, 0}, {}), Texts(2));
  EXPECT_TRUE(model.passes.empty());
}

TEST(GenerateRefuses, WhatDoesNotFitTogether) {
  Counter model;
  const auto message = [&](const Texts& prompts, const std::vector<int64_t>& counts, const GenerateOptions& options) {
    try {
      generate(model, prompts, counts, options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message({{1}}, {1, 1}, {}), "1 prompts, and 2 numbers of new tokens");
  EXPECT_EQ(message({{1}, {}}, {1, 1}, {}), "prompt 1 has no tokens");
  EXPECT_EQ(message({{1}}, {-1}, {}), "prompt 0 wants -1 new tokens");
  EXPECT_EQ(message({{1, 9}}, {1}, {}), "prompt 0 holds token 9; the model knows 0 .. 8");
  EXPECT_EQ(message({{-1}}, {1}, {}), "prompt 0 holds token -1; the model knows 0 .. 8");
  EXPECT_EQ(message({{1}}, {1}, {.end_of_text = 9}), "end of text is token 9; the model knows 0 .. 8");
  EXPECT_TRUE(model.passes.empty());
}

}  // namespace
}  // namespace recite
