#include "train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/temporary_folder.h"
#include "train/compare_ranks.h"
#include "train/thread_group.h"
#include "train/tiny_job.h"
#include "train/trainer.h"

namespace recite {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

void flip_bit(const std::string& path, int64_t place) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(place);
  const auto byte = static_cast<char>(file.get() ^ 4);
  file.seekp(place);
  file.put(byte);
}

class CheckpointTest : public testing::Test {
 protected:
  // As in the threads of a ThreadGroup: the number of threads decides the last bits.
  CheckpointTest() { at::set_num_threads(1); }

  Trainer trainer(const Job& job) { return Trainer(job, torch::kCPU, {solo_, solo_}); }

  void train(Trainer& trained, int steps) {
    for (int step = 0; step < steps; ++step) trained.step();
  }

  // Checkpoints of steps 3 and 6 of `job_` in the folder.
  void save_two() {
    Trainer trained = trainer(job_);
    for (int i = 0; i < 2; ++i) {
      train(trained, 3);
      trained.save(folder_.path());
    }
  }

  TemporaryFolder folder_;
  Job job_ = tiny_job(Architecture::rope, Precision::float32);
  SoloCollective solo_;
};

TEST_F(CheckpointTest, AResumedTrainingHasTheBitsOfOneNeverStopped) {
  for (const Architecture architecture : {Architecture::rope, Architecture::mamba, Architecture::lstm}) {
    for (const Precision precision : {Precision::float32, Precision::float64}) {
      const TemporaryFolder folder;
      const Job job = tiny_job(architecture, precision);
      Trainer never_stopped = trainer(job);
      train(never_stopped, 7);
      never_stopped.save(folder.path());
      train(never_stopped, 9);

      Trainer resumed = trainer(job);
      EXPECT_EQ(resumed.load(folder.path()), "step 7 from step-7.safetensors");
      EXPECT_EQ(resumed.steps_done(), 7);
      train(resumed, 9);
      EXPECT_EQ(resumed.examples_done(), never_stopped.examples_done());
      const auto a = weights_of(resumed.model()), b = weights_of(never_stopped.model());
      for (size_t p = 0; p < b.size(); ++p) EXPECT_TRUE(torch::equal(a[p], b[p])) << name_of(architecture) << " " << p;
    }
  }
}

TEST_F(CheckpointTest, EveryRankTakesItOver) {
  save_two();
  ThreadGroup::run(3, [&](Group group) {
    Trainer resumed(job_, torch::kCPU, group);
    EXPECT_EQ(resumed.load(folder_.path()), "step 6 from step-6.safetensors");
    EXPECT_EQ(resumed.steps_done(), 6);
    Trainer alone(job_, torch::kCPU, {solo_, solo_});
    for (int step = 0; step < 6; ++step) alone.step();
    EXPECT_EQ(resumed.examples_done(), alone.examples_done());
    EXPECT_EQ(relative_difference(weights_of(resumed.model()), weights_of(alone.model())), 0);
    resumed.step();  // with moments that are not the checkpoint's, the ranks would part here
    alone.step();
    EXPECT_TRUE(relative_difference(weights_of(resumed.model()), weights_of(alone.model())) <= 1e-6);
  });
}

// Each rank has a share of what is in it; other numbers of ranks go on from there.
TEST_F(CheckpointTest, OfAGroupIsThatOfOneRank) {
  for (const Precision precision : {Precision::float32, Precision::bf16}) {
    const TemporaryFolder folder;
    Job job = tiny_job(Architecture::mamba, precision);
    // A step must show in bf16, or a checkpoint of what the weights were at first would do.
    job.train.learning_rate = 1e-2;
    job.train.warmup_steps = 1;
    std::vector<double> losses;
    ThreadGroup::run(3, [&](Group group) {
      Trainer saved(job, torch::kCPU, group);
      for (int step = 0; step < 4; ++step) saved.step();
      saved.save(folder.path());
      for (int step = 0; step < 3; ++step) {
        const double loss = saved.step().loss;
        if (group.rank() == 0) losses.push_back(loss);
      }
    });
    const double tolerance = precision == Precision::bf16 ? 0.01 : 1e-5;
    for (const int ranks : {1, 2, 3}) {
      ThreadGroup::run(ranks, [&](Group group) {
        Trainer resumed(job, torch::kCPU, group);
        EXPECT_EQ(resumed.load(folder.path()), "step 4 from step-4.safetensors");
        for (const double loss : losses)
          EXPECT_NEAR(resumed.step().loss, loss, ranks == 3 ? 0 : tolerance * loss) << ranks;
      });
    }
  }
}

TEST_F(CheckpointTest, AnEmptyOrMissingFolderHasNone) {
  Trainer fresh = trainer(job_);
  EXPECT_EQ(fresh.load(folder_.path()), "");
  EXPECT_EQ(fresh.load(folder_ / "missing"), "");
  EXPECT_EQ(fresh.steps_done(), 0);
}

TEST_F(CheckpointTest, TheLastTwoAreKept) {
  Trainer trained = trainer(job_);
  for (int i = 0; i < 4; ++i) {
    trained.step();
    trained.save(folder_ / "made/on/demand");
  }
  EXPECT_THAT(names_in(folder_ / "made/on/demand"),
              UnorderedElementsAre("step-3.json", "step-3.safetensors", "step-4.json", "step-4.safetensors"));
}

TEST_F(CheckpointTest, WhatAKilledSaveLeftIsRemovedAndOtherFilesAreNot) {
  save_two();
  for (const char* name :
       {"step-5.safetensors", "step-5.safetensors.tmp", "step-4.json.tmp", "step-by-step.txt", "log"}) {
    std::ofstream(folder_ / name) << "x";
  }
  Trainer resumed = trainer(job_);
  EXPECT_THAT(resumed.load(folder_.path()), HasSubstr("step 6 from"));
  resumed.step();
  resumed.save(folder_.path());
  EXPECT_THAT(names_in(folder_.path()), UnorderedElementsAre("step-6.json", "step-6.safetensors", "step-7.json",
                                                             "step-7.safetensors", "step-by-step.txt", "log"));
}

TEST_F(CheckpointTest, ACutFileIsFoundOutAndThePreviousOneUsed) {
  save_two();
  const std::string newest = folder_ / "step-6.safetensors";
  fs::resize_file(newest, fs::file_size(newest) - 1);
  Trainer resumed = trainer(job_);
  EXPECT_THAT(resumed.load(folder_.path()),
              testing::AllOf(HasSubstr("step 3 from step-3.safetensors; step-6 is damaged"), HasSubstr("bytes")));
  EXPECT_EQ(resumed.steps_done(), 3);
}

TEST_F(CheckpointTest, OneFlippedBitIsFoundOutWhereverItIs) {
  save_two();
  const std::string newest = folder_ / "step-6.safetensors";
  const auto size = static_cast<int64_t>(fs::file_size(newest));
  for (const int64_t place : {int64_t{0}, int64_t{40}, size / 2, size - 1}) {
    flip_bit(newest, place);
    Trainer resumed = trainer(job_);
    EXPECT_THAT(resumed.load(folder_.path()),
                testing::AllOf(HasSubstr("step 3 from step-3"), HasSubstr("step-6 is damaged: CRC-32")));
    flip_bit(newest, place);
  }
  EXPECT_EQ(trainer(job_).load(folder_.path()), "step 6 from step-6.safetensors");
}

TEST_F(CheckpointTest, DamagedOrMissingPartsAreNamed) {
  save_two();
  std::ofstream(folder_ / "step-6.json") << R"({"step": 6)";
  EXPECT_THAT(trainer(job_).load(folder_.path()), HasSubstr("step 3 from step-3.safetensors; step-6 is damaged"));
  fs::remove(folder_ / "step-3.safetensors");
  Trainer fresh = trainer(job_);
  const auto initial = weights_of(fresh.model());
  EXPECT_THAT(fresh.load(folder_.path()), testing::AllOf(HasSubstr("starts at step 0"), HasSubstr("step-6 is damaged"),
                                                         HasSubstr("step-3 is damaged")));
  EXPECT_EQ(fresh.steps_done(), 0);
  EXPECT_EQ(relative_difference(weights_of(fresh.model()), initial), 0);
}

TEST_F(CheckpointTest, MemoryThatIsShortIsNoDamage) {
  save_two();
  const auto restore = [](const Checkpoint&) { throw std::bad_alloc(); };
  EXPECT_THROW(restore_newest_checkpoint(folder_.path(), job_.id(), restore), std::bad_alloc);
}

TEST_F(CheckpointTest, OneOfAnotherJobIsRefused) {
  save_two();
  Job other = job_;
  other.train.seed = 99;
  Trainer fresh = trainer(other);
  EXPECT_THAT(fresh.load(folder_.path()), testing::AllOf(HasSubstr("step 0"), HasSubstr("another job"),
                                                         HasSubstr(job_.id()), HasSubstr(other.id())));
  EXPECT_EQ(fresh.steps_done(), 0);
}

TEST_F(CheckpointTest, OneThatDoesNotFitChangesNothing) {
  Checkpoint strange;
  strange.step = 4;
  strange.tensors.tensors.emplace_back("weight.of.something.else", torch::ones({2}));
  write_checkpoint(folder_.path(), job_.id(), strange);
  Trainer fresh = trainer(job_);
  const auto initial = weights_of(fresh.model());
  EXPECT_THAT(fresh.load(folder_.path()), HasSubstr("it lacks 'weight."));
  EXPECT_EQ(relative_difference(weights_of(fresh.model()), initial), 0);
}

TEST_F(CheckpointTest, AfterADamagedOneTheGoodOneOutlivesTheNextSave) {
  save_two();
  fs::resize_file(folder_ / "step-6.safetensors", 10);
  Trainer resumed = trainer(job_);
  resumed.load(folder_.path());
  train(resumed, 1);
  resumed.save(folder_.path());  // step 4: the damaged step 6 is not "the one before"
  EXPECT_THAT(names_in(folder_.path()),
              UnorderedElementsAre("step-3.json", "step-3.safetensors", "step-4.json", "step-4.safetensors"));
}

TEST_F(CheckpointTest, AFolderThatCannotBeWrittenIsAnErrorThatNamesIt) {
  std::ofstream(folder_ / "file") << "x";
  Trainer trained = trainer(job_);
  try {
    trained.save(folder_ / "file/below");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(folder_ / "file/below"));
  }
}

}  // namespace
}  // namespace recite
