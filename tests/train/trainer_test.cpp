#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tasks/batch.h"
#include "train/compare_ranks.h"
#include "train/loss.h"
#include "train/tiny_job.h"

namespace recite {
namespace {

class TrainerTest : public testing::Test {
 protected:
  Trainer trainer(const Job& job) { return Trainer(job, torch::kCPU, {solo_, solo_}); }
  SoloCollective solo_;
};

TEST_F(TrainerTest, MicroBatchesGiveTheGradientOfTheWholeBatch) {
  for (const Architecture architecture : {Architecture::rope, Architecture::mamba, Architecture::lstm}) {
    Job job = tiny_job(architecture, Precision::float64);
    Trainer whole = trainer(job);
    job.train.micro_batch_size = 3;  // 3 + 3 + 2
    Trainer parts = trainer(job);
    for (int step = 0; step < 15; ++step) {
      const StepReport a = whole.step(), b = parts.step();
      EXPECT_TRUE(relative_difference(b.loss, a.loss) <= 1e-10);
      EXPECT_EQ(a.tokens, b.tokens);
      EXPECT_EQ(a.examples, b.examples);
    }
    const double difference = relative_difference(weights_of(parts.model()), weights_of(whole.model()));
    EXPECT_TRUE(difference <= 1e-10) << name_of(architecture) << " " << difference;
  }
}

// The whole algorithm again with torch's own parts: mean cross-entropy over masked positions, clip_grad_norm_, AdamW.
TEST_F(TrainerTest, StepsAreThoseOfTorchsOwnTraining) {
  Job job = tiny_job(Architecture::rope, Precision::float64);
  job.train.learning_rate = 1e-3;
  job.train.gradient_clip = 0.5;
  Trainer ours = trainer(job);
  const auto model = make_model(job.model, vocabulary_size(job.task), Precision::float64, torch::kCPU,
                                static_cast<uint64_t>(job.train.seed));
  std::vector<torch::Tensor> weights;
  for (const Parameter& parameter : model->parameters()) weights.push_back(parameter.tensor);
  torch::optim::AdamW optimizer(weights, torch::optim::AdamWOptions(1).weight_decay(0.1));
  const Task task(job.task);
  for (int64_t step = 0; step < job.train.steps; ++step) {
    const Batch batch = training_batch(task, job.train, step, 0, job.train.batch_size);
    const torch::Tensor logits = model->forward(token_tensor(batch.inputs, batch.rows, batch.time, torch::kCPU), {});
    torch::Tensor targets = token_tensor(batch.targets, batch.rows, batch.time, torch::kCPU);
    targets.masked_fill_(token_tensor(batch.loss_mask, batch.rows, batch.time, torch::kCPU) == 0, -100);
    const torch::Tensor loss = torch::nn::functional::cross_entropy(logits.flatten(0, 1), targets.flatten());
    optimizer.zero_grad();
    loss.backward();
    const double norm = torch::nn::utils::clip_grad_norm_(weights, 0.5);
    const double rate = step < 10 ? 1e-3 * static_cast<double>(step) / 10 : 1e-3 * static_cast<double>(50 - step) / 40;
    static_cast<torch::optim::AdamWOptions&>(optimizer.param_groups()[0].options()).lr(rate);
    optimizer.step();

    const StepReport report = ours.step();
    EXPECT_TRUE(relative_difference(report.loss, loss.item<double>()) <= 1e-10) << step;
    EXPECT_TRUE(relative_difference(report.grad_norm, norm) <= 1e-10) << step;
    EXPECT_DOUBLE_EQ(report.learning_rate, rate);
  }
  const double difference = relative_difference(weights_of(ours.model()), weights_of(*model));
  EXPECT_TRUE(difference <= 1e-10) << difference;
}

TEST_F(TrainerTest, TheFirstUpdateChangesNothingAndTheSecondDoes) {
  Trainer trained = trainer(tiny_job(Architecture::rope, Precision::float32));
  const auto before = weights_of(trained.model());
  EXPECT_EQ(trained.step().learning_rate, 0);
  EXPECT_EQ(relative_difference(weights_of(trained.model()), before), 0);
  trained.step();
  EXPECT_GT(relative_difference(weights_of(trained.model()), before), 0);
}

TEST_F(TrainerTest, ReportsWhatWasSeen) {
  const Job job = tiny_job(Architecture::rope, Precision::float32);
  Trainer trained = trainer(job);
  int64_t examples = 0;
  for (int64_t step = 0; step < 3; ++step) {
    examples += training_batch(Task(job.task), job.train, step, 0, 8).examples;
    const StepReport report = trained.step();
    EXPECT_EQ(report.step, step + 1);
    EXPECT_EQ(report.examples, examples);
    EXPECT_EQ(report.tokens, 8 * 23);
  }
  EXPECT_EQ(trained.examples_done(), examples);
}

TEST_F(TrainerTest, EndsAfterItsSteps) {
  Job job = tiny_job(Architecture::rope, Precision::float32);
  job.train.steps = 2;
  job.train.epochs = 2;
  Trainer trained = trainer(job);
  for (int step = 0; step < 4; ++step) {
    EXPECT_FALSE(trained.finished());
    trained.step();
  }
  EXPECT_TRUE(trained.finished());
  EXPECT_THROW(trained.step(), Error);
}

TEST_F(TrainerTest, ALossThatIsNotFiniteNamesTheStepAndTheValue) {
  Trainer trained = trainer(tiny_job(Architecture::rope, Precision::float32));
  trained.step();
  trained.step();
  {
    const torch::NoGradGuard no_grad;
    trained.model().parameters().back().tensor.fill_(std::nan(""));
  }
  try {
    trained.step();
    FAIL() << "no error";
  } catch (const NotFinite& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("step 3"));
    EXPECT_THAT(error.what(), testing::HasSubstr("nan"));
  }
}

TEST_F(TrainerTest, AnAbsurdLearningRateEndsInNotFinite) {
  Job job = tiny_job(Architecture::rope, Precision::float32);
  job.train.learning_rate = 1e30;
  job.train.warmup_steps = 0;
  Trainer trained = trainer(job);
  const auto train_on = [&] {
    while (!trained.finished()) trained.step();
  };
  EXPECT_THROW(train_on(), NotFinite);
}

TEST_F(TrainerTest, ABatchWithoutAWholeExampleIsAnError) {
  Job job = tiny_job(Architecture::rope, Precision::float32);
  job.train.min_length = job.train.max_length = 20;
  EXPECT_THROW(trainer(job).step(), Error);
}

TEST_F(TrainerTest, WithoutClippingTheGradientIsUsedAsItIs) {
  Job job = tiny_job(Architecture::rope, Precision::float64);
  job.train.warmup_steps = 0;
  job.train.gradient_clip = 0;
  Trainer unclipped = trainer(job);
  job.train.gradient_clip = 1e9;
  Trainer hardly_clipped = trainer(job);
  for (int step = 0; step < 3; ++step) {
    unclipped.step();
    hardly_clipped.step();
  }
  EXPECT_EQ(relative_difference(weights_of(unclipped.model()), weights_of(hardly_clipped.model())), 0);
}

TEST_F(TrainerTest, LearnsToCopy) {
  Job job = tiny_job(Architecture::rope, Precision::float32);
  job.model.hidden_size = 32;
  job.train.steps = 120;
  job.train.batch_size = 16;
  job.train.learning_rate = 3e-3;
  Trainer trained = trainer(job);
  const double first = trained.step().loss;
  double last = first;
  while (!trained.finished()) last = trained.step().loss;
  EXPECT_NEAR(first, std::log(10), 0.2);  // a guess among all tokens
  EXPECT_LT(last, 0.6 * first);
}

}  // namespace
}  // namespace recite
