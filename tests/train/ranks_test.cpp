// G ranks train as one does.
#include <gtest/gtest.h>

#include <tuple>

#include "tasks/batch.h"
#include "train/compare_ranks.h"
#include "train/gradient_reducer.h"
#include "train/thread_group.h"
#include "train/tiny_job.h"

namespace recite {
namespace {

class Ranks : public testing::TestWithParam<std::tuple<Architecture, Precision, int>> {};

TEST_P(Ranks, TrainAsOneRankDoes) {
  const auto [architecture, precision, ranks] = GetParam();
  const Job job = tiny_job(architecture, precision);
  const double tolerance = precision == Precision::float64 ? 1e-10 : 1e-4;
  ThreadGroup::run(ranks, [&](Group group) {
    const RankDifference difference = compare_with_one_rank(job, group);
    EXPECT_TRUE(difference.losses <= tolerance) << difference.losses;
    EXPECT_TRUE(difference.grad_norms <= tolerance) << difference.grad_norms;
    EXPECT_TRUE(difference.weights <= tolerance) << difference.weights;
    EXPECT_TRUE(difference.counts_equal);
  });
}

std::string name_of_ranks(const testing::TestParamInfo<Ranks::ParamType>& instance) {
  const auto [architecture, precision, ranks] = instance.param;
  return std::string(name_of(architecture)) + "_" + std::string(name_of(precision)) + "_" + std::to_string(ranks);
}

INSTANTIATE_TEST_SUITE_P(All, Ranks,
                         testing::Combine(testing::Values(Architecture::rope, Architecture::mamba, Architecture::lstm),
                                          testing::Values(Precision::float32, Precision::float64),
                                          testing::Values(2, 4)),
                         name_of_ranks);

TEST(RankRows, UnevenSharesAndSeparatedExamplesGiveTheSameTraining) {
  Job job = tiny_job(Architecture::lstm, Precision::float64);
  job.train.batch_size = 7;
  job.train.micro_batch_size = 2;
  job.train.packed_state = PackedState::reset;
  job.train.steps = 12;
  ThreadGroup::run(3, [&](Group group) {
    const RankDifference difference = compare_with_one_rank(job, group);
    EXPECT_TRUE(difference.losses <= 1e-10) << difference.losses;
    EXPECT_TRUE(difference.weights <= 1e-10) << difference.weights;
    EXPECT_TRUE(difference.counts_equal);
  });
}

// Rows so short that some hold no whole example.
TEST(RankRows, ARankWithoutAnswersAddsNothing) {
  constexpr int ranks = 4;
  for (const Precision precision : {Precision::float64, Precision::bf16}) {
    Job job = tiny_job(Architecture::rope, precision);
    job.train.context_length = 9;
    job.train.steps = 12;
    const int rows = job.train.batch_size / ranks;
    int without = 0;
    for (int step = 1; step < job.train.steps; ++step)  // there are gradients of a step before
      for (int rank = 0; rank < ranks; ++rank)
        without += training_batch(Task(job.task), job.train, step, rank * rows, rows).answer_tokens() == 0;
    EXPECT_GT(without, 0);
    const double tolerance = precision == Precision::float64 ? 1e-10 : 0.01;
    ThreadGroup::run(ranks, [&](Group group) {
      const RankDifference difference = compare_with_one_rank(job, group);
      EXPECT_TRUE(difference.losses <= tolerance) << difference.losses;
      EXPECT_TRUE(difference.grad_norms <= tolerance) << difference.grad_norms;
      EXPECT_TRUE(difference.counts_equal);
    });
  }
}

TEST(RankWeights, AreTheSameBitsOnEveryRank) {
  const Job job = tiny_job(Architecture::rope, Precision::float32);
  std::vector<std::vector<torch::Tensor>> weights(4);
  ThreadGroup::run(4, [&](Group group) {
    Trainer trainer(job, torch::kCPU, group);
    for (int step = 0; step < 20; ++step) trainer.step();
    weights[static_cast<size_t>(group.rank())] = weights_of(trainer.model());
  });
  for (size_t rank = 1; rank < weights.size(); ++rank) {
    for (size_t p = 0; p < weights[0].size(); ++p) EXPECT_TRUE(torch::equal(weights[rank][p], weights[0][p]));
  }
}

TEST(StopVote, OfOneRankReachesAllInTheSameStep) {
  const Job job = tiny_job(Architecture::rope, Precision::float32);
  ThreadGroup::run(3, [&](Group group) {
    Trainer trainer(job, torch::kCPU, group);
    EXPECT_FALSE(trainer.step().stop_voted);
    EXPECT_TRUE(trainer.step(group.rank() == 2).stop_voted);
    EXPECT_EQ(trainer.steps_done(), 2);
    EXPECT_FALSE(trainer.step().stop_voted);
  });
}

TEST(NotFiniteLoss, OfOneRankIsThrownByAll) {
  const Job job = tiny_job(Architecture::rope, Precision::float32);
  ThreadGroup::run(2, [&](Group group) {
    Trainer trainer(job, torch::kCPU, group);
    trainer.step();
    if (group.rank() == 1) {
      const torch::NoGradGuard no_grad;
      trainer.model().parameters().front().tensor.fill_(std::nan(""));
    }
    EXPECT_THROW(trainer.step(), NotFinite);
  });
}

// Small integers that differ by rank and place: their float sums are exact.
TEST(GradientReducer, SumsEveryElementOfEveryBucket) {
  constexpr int64_t size = 1000;
  constexpr int ranks = 3;
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    for (const int64_t bucket_bytes : {64, 1000, 1 << 20}) {
      ThreadGroup::run(ranks, [&](Group group) {
        torch::Tensor gradients = torch::arange(size, dtype) * (group.rank() + 1);
        GradientReducer(gradients, group.device, bucket_bytes).finish();
        EXPECT_TRUE(torch::equal(gradients, torch::arange(size, dtype) * (1 + 2 + 3)));
      });
    }
  }
}

// Overlaps, and notes what it was asked for.
class NotedCollective final : public Collective {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  void all_reduce_sum(void*, size_t, ElementType) override { ADD_FAILURE() << "a sum that is waited for"; }
  void broadcast(void*, size_t, ElementType, int) override {}
  bool overlaps() const override { return true; }
  void start_all_reduce_sum(void* data, size_t count, ElementType) override {
    sums.emplace_back(static_cast<float*>(data), count);
  }
  void join() override { ++joins; }

  std::vector<std::pair<float*, size_t>> sums;
  int joins = 0;
};

TEST(GradientReducer, BeginsEachBucketOnceWhatItHoldsIsComplete) {
  NotedCollective device;
  const torch::Tensor gradients = torch::zeros({100});
  auto* begin = gradients.data_ptr<float>();
  GradientReducer reducer(gradients, device, 30 * sizeof(float));  // 30, 30, 30 and 10
  for (int step = 0; step < 2; ++step) {
    device.sums.clear();
    reducer.complete_from(gradients.narrow(0, 95, 5));
    EXPECT_TRUE(device.sums.empty());
    EXPECT_TRUE(reducer.begins_from(gradients.narrow(0, 60, 7)));
    reducer.complete_from(gradients.narrow(0, 60, 7));
    using Sums = std::vector<std::pair<float*, size_t>>;
    EXPECT_EQ(device.sums, (Sums{{begin + 90, 10}, {begin + 60, 30}}));
    EXPECT_FALSE(reducer.begins_from(gradients.narrow(0, 31, 1)));
    reducer.complete_from(gradients.narrow(0, 31, 1));
    EXPECT_EQ(device.sums.size(), 2U);
    reducer.finish();
    EXPECT_EQ(device.sums, (Sums{{begin + 90, 10}, {begin + 60, 30}, {begin + 30, 30}, {begin, 30}}));
    EXPECT_EQ(device.joins, step + 1);
  }
}

// All ranks begin the same sums in the same order, also those that begin none in a backward pass.
TEST(SumsOfAStep, ThatOfTheLossIsTheLast) {
  SoloCollective host;
  NotedCollective device;
  Trainer trainer(tiny_job(Architecture::rope, Precision::float32), torch::kCPU, {host, device});
  trainer.step();
  ASSERT_EQ(device.sums.size(), 2U);
  EXPECT_GT(device.sums[0].second, 1U);
  EXPECT_EQ(device.sums[1].second, 1U);
}

// The gradients of a model's parameters, as they are when it says that those from one on are complete.
TEST(GradientsComplete, AreSaidOnlyWhenTheyAre) {
  for (const Architecture architecture : {Architecture::rope, Architecture::mamba, Architecture::lstm}) {
    const Job job = tiny_job(architecture, Precision::float64);
    const auto model = make_model(job.model, vocabulary_size(job.task), Precision::float64, torch::kCPU, 3);
    const std::vector<Parameter>& parameters = model->parameters();
    struct Said {
      size_t from;
      std::vector<torch::Tensor> gradients;
    };
    std::vector<Said> said;
    ForwardContext context;
    context.gradients_complete = [&](const torch::Tensor& parameter) {
      Said now{0, {}};
      while (!parameters.at(now.from).tensor.is_same(parameter)) ++now.from;
      for (size_t p = now.from; p < parameters.size(); ++p)
        now.gradients.push_back(parameters[p].tensor.grad().clone());
      said.push_back(now);
    };
    const torch::Tensor tokens = torch::arange(10).view({2, 5});
    model->forward(tokens, context).square().sum().backward();
    ASSERT_EQ(said.size(), static_cast<size_t>(job.model.layers));
    for (const Said& now : said) {
      EXPECT_LT(0U, now.from);
      for (size_t i = 0; i < now.gradients.size(); ++i) {
        const Parameter& parameter = parameters[now.from + i];
        EXPECT_TRUE(torch::equal(now.gradients[i], parameter.tensor.grad())) << parameter.name;
      }
    }
    EXPECT_LT(said.back().from, said.front().from);
  }
}

}  // namespace
}  // namespace recite
