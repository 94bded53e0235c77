#include "config/sweep_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace recite {
namespace {

using testing::ElementsAre;

// The sweep file that the documentation shows.
constexpr const char* documented = R"(
[sweep]
name = length-generalisation
model = hard_alibi          # a scalar option that is repeated, in any section, is an axis of the grid
model = mamba
task = copy
seed = 1
seed = 2
ranks_per_job = 1
max_tries = 3
exclude = model=lstm, max_length=300
[run]
device = auto               # auto, cpu, cuda
checkpoint_every = 60 s
[model]
hidden_size = 1024
layers = 12
heads = 16
num_masked_heads = 8
state_dim = 32
[mamba]                     # overrides for one model
layers = 24
[train]
steps = 2000
batch_size = 64             # global, over all ranks of the job
min_length = 5
max_length = 50
context_length = 220
learning_rate = 1e-5
precision = bf16
[eval]
task = copy                 # lists: all evaluated on ONE trained model (options of type list are never axes)
n_gram = 1, 2, 3
lengths = 10:100:10         # from:to:step, both ends included; lists too
batch_size = 128
num_batches = 10
every = 500
)";

std::vector<std::string> labels(const Sweep& sweep) {
  std::vector<std::string> out;
  for (const Job& job : sweep.jobs) out.push_back(job.label());
  return out;
}

TEST(DocumentedSweep, GivesTheJobsThatItSays) {
  const Sweep sweep = parse_sweep(documented, "sweep.ini", {}, {.workers = 2});
  EXPECT_EQ(sweep.spec.name, "length-generalisation");
  EXPECT_EQ(sweep.spec.max_tries, 3);
  // Mamba's 24 layers have more parameters than the 12 of the transformer: biggest first, then the file's order.
  EXPECT_THAT(labels(sweep), ElementsAre("mamba copy 5..50 seed 1", "mamba copy 5..50 seed 2",
                                         "hard_alibi copy 5..50 seed 1", "hard_alibi copy 5..50 seed 2"));
  const Job& mamba = sweep.jobs.front();
  EXPECT_EQ(mamba.model.layers, 24);
  EXPECT_EQ(sweep.jobs.back().model.layers, 12);
  EXPECT_EQ(mamba.train.batch_size, 64);
  EXPECT_EQ(mamba.train.learning_rate, 1e-5);
  EXPECT_EQ(mamba.train.precision, Precision::bf16);
  EXPECT_EQ(mamba.run.checkpoint_every, 60);
  EXPECT_THAT(mamba.eval.lengths, ElementsAre(10, 20, 30, 40, 50, 60, 70, 80, 90, 100));
  EXPECT_THAT(mamba.eval.n_grams, ElementsAre(1, 2, 3));
  EXPECT_EQ(mamba.eval.every, 500);
  EXPECT_EQ(eval_points(mamba).size(), 10u);
}

TEST(ResolvedText, GivesTheSameSweepAgain) {
  const Machine machine{.workers = 4, .has_gpu = true};
  const Sweep first = parse_sweep(
      documented, "sweep.ini", {{"train.steps", "30"}, {"train.steps", "40"}, {"sweep.only", "model=mamba"}}, machine);
  const Sweep again = parse_sweep(first.text, "other.ini", {}, {});
  ASSERT_EQ(first.jobs.size(), 4u);
  EXPECT_EQ(nlohmann::json(again.jobs), nlohmann::json(first.jobs));
  EXPECT_EQ(again.text, first.text);
  EXPECT_EQ(again.spec.name, first.spec.name);
}

TEST(ResolvedText, NamesEveryOptionThatHasAValue) {
  const Sweep sweep = parse_sweep("[sweep]\n", "defaults.ini", {}, {});
  for (const Option& option : options()) {
    const std::string value = option.name() == "sweep.name" ? "defaults" : option.default_text();
    const bool automatic = value == "auto";
    if (value.empty() || automatic) continue;
    EXPECT_NE(sweep.text.find(option.key + " = " + value + "\n"), std::string::npos) << option.name();
  }
  EXPECT_EQ(sweep.text.find("auto"), std::string::npos);
}

TEST(Automatic, IsWhatTheMachineHas) {
  const auto resolved = [](const char* text, bool has_gpu) {
    const Job job = parse_sweep(text, "a.ini", {}, {.workers = 1, .has_gpu = has_gpu}).jobs.front();
    return std::pair(job.run.device, job.train.precision);
  };
  EXPECT_EQ(resolved("", true), std::pair(DeviceKind::cuda, Precision::bf16));
  EXPECT_EQ(resolved("", false), std::pair(DeviceKind::cpu, Precision::float32));
  EXPECT_EQ(resolved("[run]\ndevice = cpu\n", true), std::pair(DeviceKind::cpu, Precision::float32));
  EXPECT_EQ(resolved("[run]\ndevice = cuda\n", false), std::pair(DeviceKind::cuda, Precision::bf16));
  EXPECT_EQ(resolved("[train]\nprecision = tf32\n", true), std::pair(DeviceKind::cuda, Precision::tf32));
  EXPECT_EQ(resolved("[rope]\nprecision = auto\n", true), std::pair(DeviceKind::cuda, Precision::bf16));
}

TEST(CommandLine, ReplacesTheFileAndOverridesOfModels) {
  const Sweep sweep =
      parse_sweep(documented, "sweep.ini", {{"model.layers", "2"}, {"sweep.seed", "7"}, {"eval.lengths", "20"}}, {});
  ASSERT_EQ(sweep.jobs.size(), 2u);
  for (const Job& job : sweep.jobs) {
    EXPECT_EQ(job.model.layers, 2);
    EXPECT_EQ(job.train.seed, 7);
    EXPECT_THAT(job.eval.lengths, ElementsAre(20));
  }
}

TEST(CommandLine, RepeatedIsAnAxis) {
  const Sweep sweep =
      parse_sweep(documented, "sweep.ini",
                  {{"sweep.seed", "1"}, {"train.learning_rate", "1e-3"}, {"train.learning_rate", "1e-4"}}, {});
  EXPECT_EQ(sweep.jobs.size(), 4u);  // 2 models x 2 rates
}

TEST(SweepName, IsTheFilesByDefault) {
  EXPECT_EQ(parse_sweep("[sweep]\n", "some/folder/figure1.ini", {}, {}).spec.name, "figure1");
}

TEST(LoadSweep, SaysThatTheFileIsNotThere) {
  EXPECT_THROW(load_sweep("no/such/file.ini", {}, {}), UsageError);
  EXPECT_THROW(load_sweep("/", {}, {}), UsageError);
}

}  // namespace
}  // namespace recite
