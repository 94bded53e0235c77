#include "train/loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/model.h"
#include "train/flat_parameters.h"
#include "train/tiny_job.h"

namespace recite {
namespace {

Batch small_batch() {
  Batch batch;
  batch.rows = 2;
  batch.time = 3;
  batch.inputs = {0, 1, 2, 3, 2, 1};
  batch.targets = {1, 2, 3, 2, 1, 0};
  batch.loss_mask = {0, 1, 1, 0, 0, 1};
  batch.global_row = {7, 9};
  batch.first_position = {0, 30};
  return batch;
}

TEST(TrainingInputs, NameTheRowsByStepGlobalRowAndPosition) {
  const torch::Tensor places = training_inputs(small_batch(), 4, torch::kCPU).row_places;
  EXPECT_TRUE(torch::equal(places, torch::tensor({{4, 7, 0}, {4, 9, 30}}, torch::kInt64)));
}

TEST(AnswerLoss, IsTheSumOverTheAnswersOfTheRealTokens) {
  const Batch batch = small_batch();
  constexpr int64_t vocabulary = 4, padded = 8;
  torch::manual_seed(1);
  torch::Tensor logits = torch::randn({2, 3, padded}, torch::kFloat64);
  logits.narrow(2, vocabulary, padded - vocabulary).fill_(50);  // would win any softmax
  const Answers answers = training_inputs(batch, 0, torch::kCPU).answers;
  const torch::Tensor wanted = logits.flatten(0, 1).index_select(0, answers.places);
  const double loss = answer_loss_sum(wanted, answers.tokens, vocabulary).item<double>();

  double expected = 0;
  for (const auto [row, time, answer] : {std::array{0, 1, 2}, std::array{0, 2, 3}, std::array{1, 2, 0}}) {
    double sum = 0;
    for (int64_t v = 0; v < vocabulary; ++v) sum += std::exp(logits[row][time][v].item<double>());
    expected += std::log(sum) - logits[row][time][answer].item<double>();
  }
  EXPECT_NEAR(loss, expected, 1e-12);
}

TEST(AnswerLoss, OtherPositionsAndPaddingGetNoGradient) {
  const Batch batch = small_batch();
  torch::Tensor logits = torch::randn({2, 3, 8}, torch::kFloat64).requires_grad_();
  const Answers answers = training_inputs(batch, 0, torch::kCPU).answers;
  answer_loss_sum(logits.flatten(0, 1).index_select(0, answers.places), answers.tokens, 4).backward();
  const torch::Tensor gradient = logits.grad();
  EXPECT_EQ(gradient.narrow(2, 4, 4).abs().max().item<double>(), 0);
  for (int64_t i = 0; i < 6; ++i) {
    const double size = gradient.view({6, 8})[i].abs().sum().item<double>();
    EXPECT_EQ(size > 0, batch.loss_mask[static_cast<size_t>(i)] == 1) << i;
  }
}

TEST(Answers, AreFilledUpToAMultipleWithPlacesThatCountForNothing) {
  Batch batch;
  batch.rows = 2;
  batch.time = 100;
  batch.global_row = {0, 1};
  batch.first_position = {0, 0};
  const int64_t multiple = answer_multiple(200);
  for (int i = 0; i < 200; ++i) {
    batch.inputs.push_back(static_cast<Token>(i % 5));
    batch.targets.push_back(static_cast<Token>(i % 7));
    batch.loss_mask.push_back(i % 5 == 4 ? 1 : 0);
  }
  const Answers answers = training_inputs(batch, 0, torch::kCPU).answers;
  ASSERT_EQ(answers.places.sizes(), torch::IntArrayRef({multiple}));
  ASSERT_EQ(answers.tokens.sizes(), answers.places.sizes());
  std::vector<bool> seen(200);
  for (int64_t i = 0; i < multiple; ++i) {
    const auto place = answers.places[i].item<int64_t>();
    EXPECT_FALSE(seen[place]) << place;
    seen[place] = true;
    EXPECT_EQ(answers.tokens[i].item<int64_t>(), place % 5 == 4 ? place % 7 : -100);
  }
  for (int64_t place = 4; place < 200; place += 5) EXPECT_TRUE(seen[place]) << place;
}

TEST(TokenTensor, HasTheTokensByRow) {
  const torch::Tensor tokens = token_tensor({1, 2, 3, 250, 5, 6}, 2, 3, torch::kCPU);
  EXPECT_TRUE(torch::equal(tokens, torch::tensor({{1, 2, 3}, {250, 5, 6}}, torch::kInt64)));
}

class LossGradient : public testing::TestWithParam<Architecture> {};

// Central differences of the loss along random directions: they see every weight.
TEST_P(LossGradient, IsThatOfFiniteDifferences) {
  const Job job = tiny_job(GetParam(), Precision::float64);
  const auto model = make_model(job.model, vocabulary_size(job.task), Precision::float64, torch::kCPU, 3);
  const FlatParameters flat(*model);
  const Batch batch = training_batch(Task(job.task), job.train, 0, 0, 3);
  const torch::Tensor inputs = token_tensor(batch.inputs, batch.rows, batch.time, torch::kCPU);
  const auto loss = [&] {
    ForwardContext context;
    context.training = true;
    const TrainingInputs of_batch = training_inputs(batch, 0, torch::kCPU);
    const Answers& answers = of_batch.answers;
    context.row_places = of_batch.row_places;
    context.wanted = answers.places;
    return answer_loss_sum(model->forward(inputs, context), answers.tokens, model->vocabulary());
  };
  loss().backward();

  const torch::NoGradGuard no_grad;
  torch::manual_seed(6);
  for (int direction = 0; direction < 5; ++direction) {
    const torch::Tensor along = torch::randn_like(flat.weights());
    constexpr double h = 1e-6;
    flat.weights().add_(along, h);
    const double above = loss().item<double>();
    flat.weights().add_(along, -2 * h);
    const double below = loss().item<double>();
    flat.weights().add_(along, h);
    const double slope = flat.gradients().dot(along).item<double>();
    EXPECT_NEAR((above - below) / (2 * h), slope, 1e-6 * std::max(1.0, std::abs(slope)));
  }
}

INSTANTIATE_TEST_SUITE_P(All, LossGradient,
                         testing::Values(Architecture::rope, Architecture::mamba, Architecture::lstm),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

}  // namespace
}  // namespace recite
