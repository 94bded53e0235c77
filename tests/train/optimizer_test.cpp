// Schedule, AdamW and clipping against the formulas, written out.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/error.h"
#include "train/adamw.h"
#include "train/flat_parameters.h"
#include "train/schedule.h"
#include "train/tiny_job.h"

namespace recite {
namespace {

TrainSpec schedule_of(int64_t steps, int warmup, double rate) {
  TrainSpec train;
  train.steps = steps;
  train.warmup_steps = warmup;
  train.learning_rate = rate;
  return train;
}

TEST(LearningRate, RisesFromZeroThenFallsTowardsZero) {
  const TrainSpec train = schedule_of(2000, 100, 1e-5);
  EXPECT_EQ(learning_rate(train, 0), 0);
  EXPECT_DOUBLE_EQ(learning_rate(train, 1), 1e-7);
  EXPECT_DOUBLE_EQ(learning_rate(train, 99), 9.9e-6);
  EXPECT_DOUBLE_EQ(learning_rate(train, 100), 1e-5);
  EXPECT_DOUBLE_EQ(learning_rate(train, 1050), 0.5e-5);
  EXPECT_DOUBLE_EQ(learning_rate(train, 1999), 1e-5 / 1900);
}

TEST(LearningRate, CountsEpochs) {
  TrainSpec train = schedule_of(100, 100, 1);
  train.epochs = 3;
  EXPECT_DOUBLE_EQ(learning_rate(train, 200), 0.5);
}

TEST(LearningRate, WithoutWarmUpBeginsAtThePeak) {
  const TrainSpec train = schedule_of(10, 0, 1);
  EXPECT_DOUBLE_EQ(learning_rate(train, 0), 1);
  EXPECT_DOUBLE_EQ(learning_rate(train, 9), 0.1);
}

TEST(LearningRate, OfAShortJobStaysInTheWarmUp) {
  for (const int64_t steps : {1, 50, 100}) {
    const TrainSpec train = schedule_of(steps, 100, 1);
    for (int64_t k = 0; k < steps; ++k) EXPECT_DOUBLE_EQ(learning_rate(train, k), static_cast<double>(k) / 100);
  }
}

// Row t of the gradients is that of update t + 1.
const torch::Tensor some_gradients = torch::tensor({{0.3, -2.0, 0.0, 1e-7, 40.0},
                                                    {-0.1, -2.5, 0.0, 2e-7, -39.0},
                                                    {0.7, 0.0, 0.0, -1e-7, 10.0},
                                                    {0.2, 1.0, 1e-3, 3e-7, 0.5}},
                                                   torch::kFloat64);
const torch::Tensor some_weights = torch::tensor({1.0, -0.5, 2.0, 0.0, 3.0}, torch::kFloat64);
constexpr std::array rates = {0.0, 1e-2, 3e-2, 1e-3};

TEST(AdamW, FollowsTheFormula) {
  const torch::Tensor weights = some_weights.clone();
  AdamW optimizer(weights, 0.1);
  for (size_t t = 0; t < rates.size(); ++t) {
    optimizer.update(weights, some_gradients[static_cast<int64_t>(t)].clone(), {rates[t], static_cast<int64_t>(t) + 1});
  }
  for (int64_t i = 0; i < some_weights.size(0); ++i) {
    double w = some_weights[i].item<double>(), m = 0, v = 0;
    for (size_t t = 0; t < rates.size(); ++t) {
      const double g = some_gradients[static_cast<int64_t>(t)][i].item<double>();
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      const double mean = m / (1 - std::pow(0.9, t + 1.0)), square = v / (1 - std::pow(0.999, t + 1.0));
      w = w - rates[t] * 0.1 * w - rates[t] * mean / (std::sqrt(square) + 1e-8);
    }
    EXPECT_NEAR(weights[i].item<double>(), w, 1e-13) << i;
    EXPECT_NEAR(optimizer.first_moments()[i].item<double>(), m, 1e-13) << i;
    EXPECT_NEAR(optimizer.second_moments()[i].item<double>(), v, 1e-12) << i;
  }
}

TEST(AdamW, IsTheOneOfTorch) {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    torch::manual_seed(4);
    const torch::Tensor weights = torch::randn({5000}, dtype);
    torch::Tensor reference = weights.clone().requires_grad_();
    torch::optim::AdamW torchs({reference}, torch::optim::AdamWOptions(1e-2).weight_decay(0.1));
    AdamW ours(weights, 0.1);
    for (int64_t t = 1; t <= 20; ++t) {
      const torch::Tensor gradients = torch::randn({5000}, dtype) * static_cast<double>(t);
      reference.mutable_grad() = gradients.clone();
      torchs.step();
      ours.update(weights, gradients, {1e-2, t});
    }
    const double tolerance = dtype == torch::kFloat64 ? 1e-12 : 1e-5;
    const double difference = (weights - reference.detach()).abs().max().item<double>();
    EXPECT_TRUE(difference <= tolerance) << difference;
  }
}

TEST(FlatParameters, AreTheModelsOwnWeightsAndGradients) {
  const Job job = tiny_job(Architecture::rope, Precision::float32);
  const auto model = make_model(job.model, vocabulary_size(job.task), Precision::float32, torch::kCPU, 1);
  const auto untouched = make_model(job.model, vocabulary_size(job.task), Precision::float32, torch::kCPU, 1);
  const FlatParameters flat(*model);
  const torch::Tensor tokens = torch::arange(10).view({2, 5});
  EXPECT_TRUE(torch::equal(model->forward(tokens, {}), untouched->forward(tokens, {})));

  model->forward(tokens, {}).square().sum().backward();
  model->forward(tokens, {}).square().sum().backward();
  untouched->forward(tokens, {}).square().sum().backward();
  double squares = 0;
  for (size_t p = 0; p < model->parameters().size(); ++p) {
    const torch::Tensor gradient = untouched->parameters()[p].tensor.grad() * 2;
    EXPECT_TRUE(torch::equal(flat.part(flat.gradients(), p), gradient)) << model->parameters()[p].name;
    squares += gradient.to(torch::kFloat64).square().sum().item<double>();
  }
  EXPECT_NEAR(squared_norm(flat.gradients()).item<double>() / squares, 1, 1e-6);

  flat.weights().zero_();
  for (const Parameter& parameter : model->parameters()) EXPECT_EQ(parameter.tensor.abs().max().item<float>(), 0);
}

// What autograd adds to a buffer of zeros, one gradient after the other.
class GradientsOf : public ::testing::TestWithParam<std::pair<Architecture, Precision>> {
 protected:
  GradientsOf() { written.gradients().fill_(NAN); }
  std::unique_ptr<Model> made() const {
    return make_model(job.model, vocabulary_size(job.task), GetParam().second, torch::kCPU, 1);
  }

  const Job job = tiny_job(GetParam().first, GetParam().second);
  const std::unique_ptr<Model> model = made(), other = made();
  FlatParameters written{*model};
  const FlatParameters added{*other};
  const torch::Tensor tokens = torch::arange(10).view({2, 5});
};

TEST_P(GradientsOf, AStepsPassesAreThoseThatAutogradAdds) {
  for (const torch::Tensor& rows : {tokens, tokens.view({5, 2})}) {
    written.accumulate_gradients(rows.is_same(tokens), [&] { model->forward(rows, {}).square().sum().backward(); });
    other->forward(rows, {}).square().sum().backward();
  }
  for (size_t p = 0; p < model->parameters().size(); ++p) {
    const torch::Tensor gradient = written.part(written.gradients(), p);
    EXPECT_TRUE(torch::equal(gradient, added.part(added.gradients(), p))) << model->parameters()[p].name;
    EXPECT_GT(gradient.abs().max().item<double>(), 0);
    EXPECT_EQ(written.gradient_of(model->parameters()[p].tensor).data_ptr(), gradient.data_ptr());
  }
}

TEST_P(GradientsOf, APassCanBeGatheredWithinIt) {
  int layers = 0;
  ForwardContext context;
  context.gradients_complete = [&](const torch::Tensor& from) {
    written.gather_gradients();
    for (size_t p = 0; p < model->parameters().size(); ++p) {
      if (model->parameters()[p].tensor.data_ptr() < from.data_ptr()) continue;
      EXPECT_GT(written.part(written.gradients(), p).abs().max().item<double>(), 0) << model->parameters()[p].name;
    }
    ++layers;
  };
  written.accumulate_gradients(/*first=*/true, [&] {
    model->forward(tokens, context).square().sum().backward();
    written.gather_gradients();
    model->forward(tokens, context).sum().backward();
  });
  written.gather_gradients();  // outside of a pass: nothing
  other->forward(tokens, {}).square().sum().backward();
  other->forward(tokens, {}).sum().backward();
  for (size_t p = 0; p < model->parameters().size(); ++p)
    EXPECT_TRUE(torch::equal(written.part(written.gradients(), p), added.part(added.gradients(), p)))
        << model->parameters()[p].name;
  EXPECT_EQ(layers, 2 * job.model.layers);
}

TEST_P(GradientsOf, APassThatFailsAreInTheBufferAgain) {
  EXPECT_THROW(written.accumulate_gradients(true, [] { throw Error("no memory"); }), Error);
  if (model->rounds_weights()) {  // else they are zeros
    EXPECT_THROW(written.accumulate_gradients(true, [] {}), std::logic_error);
  }
  for (size_t p = 0; p < model->parameters().size(); ++p)
    EXPECT_EQ(model->parameters()[p].tensor.grad().data_ptr(), written.part(written.gradients(), p).data_ptr());
}

INSTANTIATE_TEST_SUITE_P(
    Models, GradientsOf,
    ::testing::Values(std::pair{Architecture::rope, Precision::float64}, std::pair{Architecture::rope, Precision::bf16},
                      std::pair{Architecture::mamba, Precision::bf16}, std::pair{Architecture::lstm, Precision::bf16}),
    [](const auto& of) { return std::string(name_of(of.param.first)) + "_" + std::string(name_of(of.param.second)); });

}  // namespace
}  // namespace recite
