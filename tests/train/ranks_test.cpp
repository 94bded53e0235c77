// G ranks train as one does.
#include <gtest/gtest.h>

#include <tuple>

#include "tasks/batch.h"
#include "train/compare_ranks.h"
#include "train/shared_update.h"
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

TEST(Votes, OfOneRankReachAllInTheSameStep) {
  const Job job = tiny_job(Architecture::rope, Precision::float32);
  ThreadGroup::run(3, [&](Group group) {
    Trainer trainer(job, torch::kCPU, group);
    EXPECT_FALSE(trainer.start_step().stop);
    const Votes votes = trainer.start_step({.stop = group.rank() == 2, .save = false});
    EXPECT_TRUE(votes.stop);
    EXPECT_FALSE(votes.save);
    EXPECT_TRUE(trainer.start_step({.stop = false, .save = group.rank() == 0}).save);
    EXPECT_EQ(trainer.steps_done(), 3);
    EXPECT_FALSE(trainer.start_step().stop);
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
  constexpr int ranks = 3;
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    for (const auto& [buckets, bucket] : {std::pair{1, 300}, std::pair{4, 6}, std::pair{100, 3}}) {
      const FlatLayout layout{.common = 17, .buckets = buckets, .bucket = bucket, .ranks = ranks};
      const torch::Tensor one = torch::arange(layout.size(), dtype), sums = one * (1 + 2 + 3);
      ThreadGroup::run(ranks, [&](Group group) {
        const torch::Tensor gradients = one * (group.rank() + 1);
        GradientReducer reducer(layout, gradients, group.device);
        reducer.complete();
        reducer.finish();
        EXPECT_TRUE(torch::equal(gradients.narrow(0, 0, 17), sums.narrow(0, 0, 17)));
        EXPECT_TRUE(torch::equal(reducer.shares(), layout.shares(sums).select(1, group.rank()).flatten()));
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
  void start_all_reduce_sum(void* data, size_t count, ElementType) override { sums.emplace_back(data, count); }
  void start_reduce_scatter_sum(const void* data, void*, size_t count, ElementType) override {
    sums.emplace_back(data, count);
  }
  void start_all_gather(const std::vector<Gather>&, size_t, ElementType) override {}
  void join() override { ++joins; }

  using Sums = std::vector<std::pair<const void*, size_t>>;
  Sums sums;
  int joins = 0;
};

TEST(GradientReducer, BeginsEachBucketOnceWhatItHoldsIsComplete) {
  NotedCollective device;
  const FlatLayout layout{.common = 10, .buckets = 3, .bucket = 30, .ranks = 2};
  const torch::Tensor gradients = torch::zeros({layout.size()});
  auto* const begin = gradients.data_ptr<float>();
  GradientReducer reducer(layout, gradients, device);
  for (int step = 0; step < 2; ++step) {
    device.sums.clear();
    reducer.complete_from(gradients.narrow(0, 95, 5));
    EXPECT_TRUE(device.sums.empty());
    EXPECT_TRUE(reducer.begins_from(gradients.narrow(0, 40, 7)));
    reducer.complete_from(gradients.narrow(0, 40, 7));
    using Sums = NotedCollective::Sums;
    EXPECT_EQ(device.sums, (Sums{{begin + 70, 15}, {begin + 40, 15}}));
    EXPECT_FALSE(reducer.begins_from(gradients.narrow(0, 11, 1)));
    EXPECT_THROW(reducer.complete_from(gradients.narrow(0, 9, 1)), std::logic_error);
    reducer.complete();
    EXPECT_EQ(device.sums, (Sums{{begin + 70, 15}, {begin + 40, 15}, {begin + 10, 15}, {begin, 10}}));
    reducer.finish();
    EXPECT_EQ(device.joins, step + 1);
  }
}

// What two ranks share on the host, when the other one has nothing.
class HostOfTwo final : public Collective {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  void all_reduce_sum(void*, size_t, ElementType) override {}
  void broadcast(void*, size_t, ElementType, int) override {}
  void start_reduce_scatter_sum(const void*, void*, size_t, ElementType) override {}
  void start_all_gather(const std::vector<Gather>&, size_t, ElementType) override {}
};

// All ranks begin the same sums in the same order, also those that begin none in a backward pass.
TEST(SumsOfAStep, ThoseOfTheLossAndTheSquaresAreTheLast) {
  HostOfTwo host;
  NotedCollective device;
  Trainer trainer(tiny_job(Architecture::rope, Precision::float32), torch::kCPU, {host, device});
  trainer.step();
  ASSERT_EQ(device.sums.size(), 3U);  // a bucket, what every rank sums, and those
  EXPECT_GT(device.sums[0].second, device.sums[1].second);
  EXPECT_GT(device.sums[1].second, 2U);
  EXPECT_EQ(device.sums[2].second, 2U);
}

// What is not drawn from a model: any gradients, in more buckets than one.
class SharedUpdates : public testing::TestWithParam<Precision> {
 protected:
  std::unique_ptr<Model> made() const {
    return make_model(job.model, vocabulary_size(job.task), job.train.precision, torch::kCPU, 3);
  }
  // Of step t and a rank.
  static void draw(const FlatParameters& parameters, int64_t t, int rank) {
    for (size_t p = 0; p < parameters.count(); ++p) {
      const torch::Tensor part = parameters.part(parameters.gradients(), p);
      const torch::Tensor values =
          torch::arange(part.numel(), torch::kFloat64) * (t + 1) + 7 * rank + static_cast<double>(p);
      part.copy_(values.sin().view_as(part));
    }
  }
  static AdamWStep step_of(int64_t t) { return {1e-2, t + 1, /*divisor=*/3, /*limit=*/0.5}; }
  static constexpr int ranks = 3, steps = 4;
  static constexpr double weight_decay = 0.1;

  static Job wider(Job job) {
    job.model.hidden_size = 32;
    return job;
  }

  const Job job = wider(tiny_job(Architecture::rope, GetParam()));
};

TEST_P(SharedUpdates, AreThoseOfOneRank) {
  const auto reference_model = made();
  FlatParameters reference(*reference_model);
  SoloCollective solo;
  SharedUpdate whole(reference, weight_decay, solo);
  std::vector<torch::Tensor> of_one_rank;  // sums of each step
  for (int64_t t = 0; t < steps; ++t) {
    torch::Tensor sum = torch::zeros_like(reference.gradients());
    for (int rank = 0; rank < ranks; ++rank) {
      draw(reference, t, rank);
      sum += reference.gradients();
    }
    reference.gradients().copy_(sum);
    whole.reducer().complete();
    whole.reducer().finish();
    const torch::Tensor loss = torch::full({}, ranks * (ranks + 1) / 2.0, torch::kFloat64);
    of_one_rank.push_back(whole.sums(loss));
    whole.update(step_of(t), of_one_rank.back()[1]);
  }
  const auto near = [](const torch::Tensor& a, const torch::Tensor& b) {
    return (a - b).abs().max().item<double>() <= 1e-5 * b.abs().max().item<double>();
  };
  ThreadGroup::run(ranks, [&](Group group) {
    const auto model = made();
    FlatParameters parameters(*model, ranks, /*bucket_bytes=*/1 << 14);
    EXPECT_GT(parameters.layout().buckets, 2);
    SharedUpdate update(parameters, weight_decay, group.device);
    for (int64_t t = 0; t < steps; ++t) {
      draw(parameters, t, group.rank());
      update.reducer().complete();
      update.reducer().finish();
      const torch::Tensor sums = update.sums(torch::full({}, group.rank() + 1.0, torch::kFloat64));
      EXPECT_EQ(sums[0].item<double>(), of_one_rank[t][0].item<double>());
      EXPECT_TRUE(near(sums[1], of_one_rank[t][1])) << t;
      update.update(step_of(t), sums[1]);
    }
    update.gather_weights();
    const auto part = [&](const torch::Tensor& buffer, size_t p) { return parameters.part(buffer, p).clone(); };
    for (size_t p = 0; p < parameters.count(); ++p) {
      const torch::Tensor weight = part(parameters.weights(), p);
      EXPECT_TRUE(near(weight, reference.part(reference.weights(), p))) << p;
      if (!parameters.copies().defined()) continue;
      EXPECT_TRUE(torch::equal(part(parameters.copies(), p), weight.to(torch::kBFloat16))) << p;
    }
    for (const bool second : {false, true}) {
      const torch::Tensor moments = second ? update.second_moments() : update.first_moments();
      const torch::Tensor expected = second ? whole.second_moments() : whole.first_moments();
      for (size_t p = 0; p < parameters.count(); ++p)
        EXPECT_TRUE(near(part(moments, p), reference.part(expected, p))) << p << second;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Precisions, SharedUpdates,
                         testing::Values(Precision::float32, Precision::float64, Precision::bf16),
                         [](const auto& of) { return std::string(name_of(of.param)); });

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
