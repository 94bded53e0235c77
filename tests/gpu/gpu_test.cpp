// On a machine with a GPU, on any number of ranks: every model on the GPU against float64 on the CPU, and training over
// NCCL against one rank.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <numeric>

#include "eval/evaluate.h"
#include "models/dropout.h"
#include "support/rank_main.h"
#include "train/compare_ranks.h"
#include "train/tiny_job.h"
#include "train/trainer.h"

namespace recite {
namespace {

constexpr Architecture architectures[] = {Architecture::rope,       Architecture::nope,  Architecture::alibi,
                                          Architecture::hard_alibi, Architecture::mamba, Architecture::lstm};

std::unique_ptr<FormedGroup> group_of_all_workers(const std::string& name) {
  std::vector<int> ranks(mpi_test::transport().size());
  std::iota(ranks.begin(), ranks.end(), 0);
  return mpi_test::transport().form_group({ranks, name, true, 60, nullptr});
}

class OnGpu : public ::testing::TestWithParam<Architecture> {};

// Logits and every gradient against those of float64 on the CPU, relative to their norms.
void expect_near_float64(const Job& job, Precision precision, double tolerance) {
  for (const int64_t time : {1, 2, 17, 129}) {
    const auto gpu = make_model(job.model, vocabulary_size(job.task), precision, torch::kCUDA, 3);
    const auto cpu = make_model(job.model, vocabulary_size(job.task), Precision::float64, torch::kCPU, 3);
    torch::manual_seed(1);
    const torch::Tensor tokens = torch::randint(vocabulary_size(job.task), {3, time}, torch::kInt64);
    const torch::Tensor on_gpu = gpu->forward(tokens.to(torch::kCUDA), {}), on_cpu = cpu->forward(tokens, {});
    const torch::Tensor weights = torch::randn(on_cpu.sizes(), torch::kFloat64);
    (on_gpu * weights.to(on_gpu.options())).sum().backward();
    (on_cpu * weights).sum().backward();
    EXPECT_LT(relative_difference({on_gpu.detach().cpu()}, {on_cpu.detach()}), tolerance) << "T " << time;
    for (size_t i = 0; i < cpu->parameters().size(); ++i) {
      const torch::Tensor expected = cpu->parameters()[i].tensor.grad(), got = gpu->parameters()[i].tensor.grad();
      ASSERT_EQ(expected.defined(), got.defined()) << cpu->parameters()[i].name;
      const double far = (got.cpu().to(torch::kFloat64) - expected).norm().item<double>();
      EXPECT_LE(far, tolerance * expected.norm().item<double>() + 1e-6) << cpu->parameters()[i].name << ", T " << time;
    }
  }
}

TEST_P(OnGpu, LogitsAndGradientsAreThoseOfFloat64OnTheCpu) {
  expect_near_float64(tiny_job(GetParam(), Precision::float32), Precision::float32, 1e-4);
}

// Wide enough for the kernels that use tensor cores, and for those that take vectors.
TEST_P(OnGpu, Bf16IsNearFloat64OnTheCpu) {
  Job job = tiny_job(GetParam(), Precision::bf16);
  job.model.hidden_size = 128;
  job.model.heads = 2;
  job.model.num_masked_heads = 1;
  job.model.state_dim = 16;
  expect_near_float64(job, Precision::bf16, 0.06);
}

TEST_P(OnGpu, TrainingStepsHaveTheSameBitsAgain) {
  Job job = tiny_job(GetParam(), Precision::bf16);
  job.model.hidden_size = 128;
  job.model.heads = 2;
  job.model.num_masked_heads = 1;
  SoloCollective alone;
  Trainer first(job, torch::kCUDA, {alone, alone}), second(job, torch::kCUDA, {alone, alone});
  for (int step = 0; step < 5; ++step) EXPECT_EQ(first.step().loss, second.step().loss) << step;
  for (size_t i = 0; i < first.model().parameters().size(); ++i)
    EXPECT_TRUE(torch::equal(first.model().parameters()[i].tensor, second.model().parameters()[i].tensor))
        << first.model().parameters()[i].name;
}

TEST_P(OnGpu, RanksTrainAsOneDoes) {
  const auto formed = group_of_all_workers("train-" + std::to_string(static_cast<int>(GetParam())));
  for (const auto& [precision, tolerance] :
       {std::pair{Precision::float32, 1e-4}, std::pair{Precision::float64, 1e-10}}) {
    const Job job = tiny_job(GetParam(), precision);
    const RankDifference difference = compare_with_one_rank(job, formed->group(), torch::kCUDA);
    EXPECT_TRUE(difference.losses <= tolerance) << difference.losses;
    EXPECT_TRUE(difference.weights <= tolerance) << difference.weights;
    EXPECT_TRUE(difference.counts_equal);
    if (mpi_test::transport().rank() == 0)
      std::printf("%d ranks, %s, %s: losses %.1e, weights %.1e\n", formed->group().size(),
                  std::string(name_of(GetParam())).c_str(), std::string(name_of(precision)).c_str(), difference.losses,
                  difference.weights);
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, OnGpu, ::testing::ValuesIn(architectures),
                         [](const auto& parameter) { return std::string(name_of(parameter.param)); });

TEST(DropoutMask, HasTheBitsOfTheCpu) {
  const std::vector<int64_t> rows = {3, 900, int64_t{1} << 40};
  const std::vector<int32_t> positions = {0, 7, 1000};
  const ForwardContext context{
      .training = true, .seed = 9, .step = 4, .global_row = rows.data(), .first_position = positions.data()};
  for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kFloat64}) {
    const auto options = torch::TensorOptions().dtype(type);
    for (const int64_t width : {1, 4, 1023}) {
      const torch::Tensor expected = dropout_mask(context, 1, 0.65, {3, 5, width}, options);
      const torch::Tensor actual = dropout_mask(context, 1, 0.65, {3, 5, width}, options.device(torch::kCUDA));
      EXPECT_TRUE(torch::equal(actual.cpu(), expected)) << width;
    }
  }
}

TEST(NcclCollective, SumsExactly) {
  const auto formed = group_of_all_workers("sums");
  Collective& device = formed->group().device;
  const int ranks = device.size();
  for (const int64_t count : {1, 129, 100003}) {
    const torch::Tensor base = torch::arange(count, torch::kCUDA).remainder(17);
    torch::Tensor data = (base * (device.rank() + 1)).to(torch::kFloat32);
    device.all_reduce_sum(data.data_ptr(), count, ElementType::float32);
    EXPECT_TRUE(torch::equal(data, (base * (ranks * (ranks + 1) / 2)).to(torch::kFloat32))) << count;
  }
  torch::Tensor mine = torch::full({1000}, static_cast<double>(device.rank()), torch::kCUDA);
  device.broadcast(mine.data_ptr(), 1000 * mine.element_size(), ElementType::bytes, ranks - 1);
  EXPECT_TRUE((mine == ranks - 1).all().item<bool>());
}

}  // namespace
}  // namespace recite
