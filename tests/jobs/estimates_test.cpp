#include <gtest/gtest.h>

#include "jobs/job.h"

namespace recite {
namespace {

int64_t paper_parameters(Architecture architecture, int layers) {
  ModelSpec model;
  model.architecture = architecture;
  model.layers = layers;
  return parameter_count(model, TaskSpec{});
}

TEST(ParameterCount, TransformersOfThePaper) {
  // Weights of GPT-NeoX with h = 1024, 12 layers, 30 tokens, summed by hand: 12 layers of
  // qkv (1024 x 3072 + 3072), output (1024 x 1024 + 1024), MLP (1024 x 4096 + 4096, 4096 x 1024 + 1024), 2 norms.
  const int64_t layer = 3148800 + 1049600 + 4198400 + 4195328 + 4096;
  for (const Architecture kind :
       {Architecture::rope, Architecture::nope, Architecture::alibi, Architecture::hard_alibi}) {
    EXPECT_EQ(paper_parameters(kind, 12), 12 * layer + 2048 + 2 * 30720);
  }
  EXPECT_NEAR(paper_parameters(Architecture::rope, 12), 151.2e6, 0.05e6);
}

TEST(ParameterCount, MambaAndLstmOfThePaper) {
  EXPECT_NEAR(paper_parameters(Architecture::mamba, 12), 81.2e6, 0.05e6);
  EXPECT_NEAR(paper_parameters(Architecture::mamba, 24), 162.4e6, 0.05e6);
  EXPECT_NEAR(paper_parameters(Architecture::lstm, 4), 33.6e6, 0.05e6);
}

TEST(ParameterCount, MambaOfASmallSizeByHand) {
  // h = 20: inner 40, dt_rank 2, state 3; 10 tokens padded to 16.
  ModelSpec model;
  model.architecture = Architecture::mamba;
  model.hidden_size = 20;
  model.layers = 1;
  model.state_dim = 3;
  TaskSpec task;
  task.vocab_size = 6;
  const int64_t in = 20 * 80, conv = 40 * 4 + 40, x = 40 * (2 + 6), dt = 2 * 40 + 40, scan = 40 * 3 + 40, out = 40 * 20;
  EXPECT_EQ(parameter_count(model, task), in + conv + x + dt + scan + out + 20 + 20 + 16 * 20);
}

TEST(ParameterCount, PretrainedModelsByTheirReleasedSizes) {
  // Pythia-410m and mamba-370m, as `transformers` counts models of their configurations.
  ModelSpec pythia;
  pythia.hidden_size = 1024;
  pythia.layers = 24;
  EXPECT_EQ(parameter_count(pythia, int64_t{50304}), 405334016);
  ModelSpec mamba;
  mamba.architecture = Architecture::mamba;
  mamba.hidden_size = 1024;
  mamba.layers = 48;
  mamba.state_dim = 16;
  EXPECT_EQ(parameter_count(mamba, int64_t{50277}), 371516416);
}

TEST(ParameterCount, LstmOfASmallSizeByHand) {
  ModelSpec model;
  model.architecture = Architecture::lstm;
  model.hidden_size = 4;
  model.layers = 2;
  TaskSpec task;
  task.vocab_size = 1;
  const int64_t layer = 16 * 4 + 16 * 4 + 16 + 16;
  EXPECT_EQ(parameter_count(model, task), 2 * layer + 5 * 4 + 4 * 5 + 5);
}

TEST(EstimatedMemory, HoldsWeightsGradientsAndMoments) {
  Job job;
  job.train.batch_size = 1;
  job.train.context_length = 2;
  const double parameters = static_cast<double>(parameter_count(job.model, job.task));
  EXPECT_GT(estimated_memory(job), 16 * parameters);
  EXPECT_LT(estimated_memory(job), 20 * parameters + 500e6);
  job.train.precision = Precision::float64;
  EXPECT_GT(estimated_memory(job), 32 * parameters);
}

TEST(EstimatedMemory, IsLessWhereRanksShareTheUpdate) {
  Job job;
  job.train.precision = Precision::bf16;
  const double parameters = static_cast<double>(parameter_count(job.model, job.task));
  const auto of_ranks = [&](int ranks) {
    job.ranks = ranks;
    job.train.batch_size = 8 * ranks;
    return estimated_memory(job);
  };
  const double one = of_ranks(1);
  EXPECT_NEAR(one - of_ranks(2), 1.15 * (18 - 19) * parameters, 1);
  EXPECT_NEAR(one - of_ranks(8), 1.15 * (18 - 12.25) * parameters, 1);
}

TEST(EstimatedMemory, GrowsByTheActivationsOfEachToken) {
  Job job;
  job.model.architecture = Architecture::rope;
  job.train.context_length = 100;
  const double one = estimated_memory(job);
  job.train.context_length = 200;
  const double tokens = 8 * 100;
  const double of_a_token = (16.0 * job.model.layers + 10) * job.model.hidden_size * 4 + 30 * 3 * 4;
  EXPECT_NEAR(estimated_memory(job) - one, 1.15 * tokens * of_a_token, 1e-3);
}

TEST(EstimatedMemory, ShrinksWithRanksAndMicroBatches) {
  Job job;
  job.train.batch_size = 64;
  const double whole = estimated_memory(job);
  job.train.micro_batch_size = 16;
  const double quarter = estimated_memory(job);
  EXPECT_LT(quarter, whole);
  job.train.micro_batch_size = 0;
  job.ranks = 4;
  EXPECT_NEAR(estimated_memory(job), quarter - 1.15 * 4 * static_cast<double>(parameter_count(job.model, job.task)), 1);
}

Job pretrained_job() {
  Job job;
  job.pretrained.model = "models/pythia-410m";
  job.task.kind = TaskKind::phone_book;
  job.folder = {1000000, 50304};
  job.eval.lengths = {10, 20};
  job.eval.batch_size = 4;
  job.eval.num_batches = 2;
  return job;
}

TEST(PretrainedEstimates, AreOfPromptsAndOfTheFolder) {
  const Job job = pretrained_job();
  EXPECT_EQ(parameter_count(job), 1000000);
  EXPECT_EQ(job_steps(job), 2);  // points
  // Eight prompts of 13 and of 23 lines of 16 tokens, with answers of 50.
  EXPECT_DOUBLE_EQ(job_tokens(job), 8 * (16 * 13 + 50) + 8 * (16 * 23 + 50));
  EXPECT_DOUBLE_EQ(job_cost(job), job_tokens(job) * 1e6);
}

TEST(PretrainedEstimates, MemoryIsWeightsAndCacheOfTheLongestPrompts) {
  Job job = pretrained_job();
  job.folder.parameters = 0;
  const double tokens = 16 * 23 + 50;
  const double cache = 12 * 2 * 1024 * tokens * 4, passing = 8 * 1024 * tokens * 4;
  EXPECT_DOUBLE_EQ(estimated_memory(job), 470e6 + 1.15 * 4 * (cache + passing));
  const double without = estimated_memory(job);
  job.folder.parameters = 1000000;
  EXPECT_NEAR(estimated_memory(job) - without, 1.15 * 4e6, 1);
  job.model.architecture = Architecture::mamba;
  job.folder.parameters = 0;
  const double states = 12 * 2048 * (32 * 4.0 + 4 * 4.0);
  EXPECT_DOUBLE_EQ(estimated_memory(job), 470e6 + 1.15 * 4 * (states + passing));
}

TEST(PretrainedJobs, AreSharedByAnyNumberOfRanks) {
  EXPECT_TRUE(can_be_shared(pretrained_job(), 7));
  EXPECT_FALSE(can_be_shared(Job{}, 7));
  EXPECT_TRUE(can_be_shared(Job{}, 4));
}

TEST(SortByCost, PutsTheLargestFirst) {
  std::vector<Job> jobs(3, pretrained_job());
  for (size_t i = 0; i < 3; ++i) jobs[i].folder.parameters = static_cast<int64_t>(5 + i);
  sort_by_cost(jobs);
  EXPECT_EQ(jobs.front().folder.parameters, 7);
  EXPECT_EQ(jobs.back().folder.parameters, 5);
}

TEST(TrainingCost, IsTokensTimesParameters) {
  Job job;
  job.train.steps = 10;
  job.train.epochs = 3;
  EXPECT_DOUBLE_EQ(job_tokens(job), 10.0 * 3 * 8 * 220);
  EXPECT_DOUBLE_EQ(job_cost(job), 10.0 * 3 * 8 * 220 * static_cast<double>(parameter_count(job.model, job.task)));
}

}  // namespace
}  // namespace recite
