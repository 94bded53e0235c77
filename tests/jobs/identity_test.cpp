#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "jobs/job.h"

namespace recite {
namespace {

Job stopping_job() {
  Job job;
  job.eval.stop_at_accuracy = 0.9;
  job.eval.every = 10;
  return job;
}

// A results file names its jobs by these for ever.
TEST(JobId, IsStable) {
  EXPECT_EQ(Job{}.id(), "e39c4701182fdb03");
  Job job;
  job.task = {TaskKind::suffix_ngram, 20, 2, 0, NgramKey::unique};
  job.model.architecture = Architecture::mamba;
  job.train.learning_rate = 3e-4;
  EXPECT_EQ(job.id(), "be90595608a19a01");
  EXPECT_EQ(stopping_job().id(), "471d98feec23d6c6");
}

TEST(JobId, DoesNotDependOnWhatIsNotTrained) {
  Job job;
  job.ranks = 4;
  job.train.micro_batch_size = 2;
  job.run = {DeviceKind::cuda, 5, 7, 3, true};
  job.eval.tasks = {TaskKind::duplicate_ngram};
  job.eval.n_grams = {3};
  job.eval.lengths = {50, 60};
  job.eval.batch_size = 64;
  job.eval.num_batches = 9;
  job.eval.every = 100;
  job.eval.every_lengths = {50};
  job.eval.mode = EvalMode::greedy;
  job.eval.seed = 8;
  job.eval.context_length = 500;
  EXPECT_EQ(job.id(), Job{}.id());
}

TEST(JobId, DoesNotDependOnHowStepsAreSplitIntoEpochs) {
  Job job;
  job.train.steps = 500;
  job.train.epochs = 4;
  EXPECT_EQ(job.id(), Job{}.id());
}

struct Change {
  const char* part;
  const char* key;
  nlohmann::json value;
  Architecture architecture = Architecture::rope;
  TaskKind task = TaskKind::suffix_ngram;
};

const std::vector<Change>& changes() {
  static const std::vector<Change> all = {
      {"task", "kind", "prefix_ngram"},
      {"task", "vocab_size", 20},
      {"task", "n_gram", 3},
      {"task", "length_answer", 1},
      {"task", "ngram_key", "any"},
      {"model", "architecture", "nope"},
      {"model", "hidden_size", 512},
      {"model", "layers", 11},
      {"model", "heads", 8},
      {"model", "num_masked_heads", 7, Architecture::hard_alibi},
      {"model", "state_dim", 16, Architecture::mamba},
      {"model", "dropout", 0.5, Architecture::lstm},
      {"model", "score_quirk", "published", Architecture::alibi},
      {"train", "seed", 1},
      {"train", "steps", 1999},
      {"train", "epochs", 2},
      {"train", "batch_size", 16},
      {"train", "min_length", 6},
      {"train", "max_length", 21},
      {"train", "context_length", 221},
      {"train", "packed_state", "reset"},
      {"train", "learning_rate", 1.0000001e-5},
      {"train", "warmup_steps", 99},
      {"train", "weight_decay", 0.0},
      {"train", "gradient_clip", 0.0},
      {"train", "precision", "bf16"},
  };
  return all;
}

Job job_of(const Change& change) {
  Job job;
  job.task.kind = change.task;
  job.task.n_gram = 2;
  job.model.architecture = change.architecture;
  return job;
}

TEST(JobId, DependsOnEveryOptionThatIsTrained) {
  for (const Change& change : changes()) {
    const Job before = job_of(change);
    nlohmann::json text = before;
    ASSERT_NE(text[change.part][change.key], change.value) << change.key;
    text[change.part][change.key] = change.value;
    EXPECT_NE(text.get<Job>().id(), before.id()) << change.part << '.' << change.key;
  }
}

TEST(JobId, NoTrainedOptionIsForgottenHere) {
  std::set<std::string> changed = {"train.micro_batch_size"};
  for (const Change& change : changes()) changed.insert(std::string(change.part) + '.' + change.key);
  const nlohmann::json job = Job{};
  for (const char* part : {"task", "model", "train"}) {
    for (const auto& [key, value] : job[part].items()) EXPECT_EQ(changed.count(part + ('.' + key)), 1u) << key;
  }
}

TEST(JobId, DoesNotDependOnOptionsThatTheModelOrTaskDoesNotUse) {
  const std::vector<std::pair<Architecture, std::function<void(Job&)>>> unused = {
      {Architecture::mamba, [](Job& job) { job.model.heads = 8; }},
      {Architecture::lstm, [](Job& job) { job.model.state_dim = 8; }},
      {Architecture::rope, [](Job& job) { job.model.num_masked_heads = 3; }},
      {Architecture::rope, [](Job& job) { job.model.score_quirk = ScoreQuirk::published; }},
      {Architecture::nope, [](Job& job) { job.model.dropout = 0; }},
      {Architecture::nope, [](Job& job) { job.task.n_gram = 4; }},
      {Architecture::nope, [](Job& job) { job.task.ngram_key = NgramKey::any; }},
  };
  for (const auto& [architecture, change] : unused) {
    Job before;
    before.model.architecture = architecture;
    Job after = before;
    change(after);
    EXPECT_EQ(after.id(), before.id()) << name_of(architecture);
  }
}

TEST(JobId, DependsOnEarlyStoppingAndWhatItLooksAt) {
  const std::vector<std::function<void(Job&)>> looks = {[](Job& job) { job.eval.stop_at_accuracy = 0.8; },
                                                        [](Job& job) { job.eval.stop_length = 19; },
                                                        [](Job& job) { job.eval.every = 20; },
                                                        [](Job& job) { job.eval.batch_size = 9; },
                                                        [](Job& job) { job.eval.num_batches = 4; },
                                                        [](Job& job) { job.eval.mode = EvalMode::greedy; },
                                                        [](Job& job) { job.eval.seed = 3; }};
  std::set<std::string> ids = {Job{}.id(), stopping_job().id()};
  for (const auto& look : looks) {
    Job job = stopping_job();
    look(job);
    EXPECT_TRUE(ids.insert(job.id()).second);
  }
  Job same = stopping_job();
  same.eval.lengths = {5};
  same.eval.stop_length = same.train.max_length;
  EXPECT_EQ(same.id(), stopping_job().id());
}

Job pretrained_job(TaskKind task) {
  Job job;
  job.pretrained.model = "models/pythia-410m";
  job.pretrained.c4_corpus = "c4.json.gz";
  job.pretrained.squad_file = "dev.json";
  job.task.kind = task;
  return job;
}

TEST(PretrainedJobId, IsStable) { EXPECT_EQ(pretrained_job(TaskKind::c4_copy).id(), "907f57c4f71aa59f"); }

TEST(PretrainedJobId, DependsOnWhatIsAskedAndByWhom) {
  const std::vector<std::function<void(Job&)>> changes = {
      [](Job& job) { job.pretrained.model = "models/mamba-370m"; },
      [](Job& job) { job.pretrained.tokenizer = "other.json"; },
      [](Job& job) { job.pretrained.c4_corpus = "other.json.gz"; },
      [](Job& job) { job.pretrained.text_order = TextOrder::random; },
      [](Job& job) { job.pretrained.decode_cleanup = DecodeCleanup::published; },
      [](Job& job) { job.train.precision = Precision::bf16; },
      [](Job& job) { job.eval.seed = 1; },
      [](Job& job) { job.task.kind = TaskKind::phone_book; },
      [](Job& job) { job.task.kind = TaskKind::squad; },
      [](Job& job) { job.task.kind = TaskKind::squad, job.pretrained.squad_file = "train.json"; },
      [](Job& job) { job.task.kind = TaskKind::squad, job.pretrained.squad_bins = 100; },
      [](Job& job) { job.task.kind = TaskKind::squad, job.pretrained.squad_contexts = 50; },
      [](Job& job) {
        job.task.kind = TaskKind::squad, job.pretrained.squad_normalisation = SquadNormalisation::official;
      }};
  std::set<std::string> ids = {pretrained_job(TaskKind::c4_copy).id()};
  for (size_t i = 0; i < changes.size(); ++i) {
    Job job = pretrained_job(TaskKind::c4_copy);
    changes[i](job);
    EXPECT_TRUE(ids.insert(job.id()).second) << "change " << i;
  }
}

TEST(PretrainedJobId, DoesNotDependOnTheRest) {
  const std::vector<std::function<void(Job&)>> changes = {
      [](Job& job) { job.pretrained.model = "models/./pythia-410m/"; },
      [](Job& job) { job.pretrained.text_order = TextOrder::random; },
      [](Job& job) { job.pretrained.c4_corpus = "other"; },
      [](Job& job) { job.pretrained.squad_bins = 7; },
      [](Job& job) { job.eval.lengths = {70}; },
      [](Job& job) { job.eval.batch_size = 3; },
      [](Job& job) { job.train.steps = 3; },
      [](Job& job) { job.model.architecture = Architecture::mamba; },
      [](Job& job) { job.folder = {5, 6}; },
      [](Job& job) { job.ranks = 3; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    Job job = pretrained_job(TaskKind::phone_book);
    changes[i](job);
    EXPECT_EQ(job.id(), pretrained_job(TaskKind::phone_book).id()) << "change " << i;
  }
}

TEST(JobLabel, NamesTheFolderOfAPretrainedModel) {
  Job job = pretrained_job(TaskKind::c4_copy);
  job.pretrained.model += '/';
  EXPECT_EQ(job.model_name(), "pythia-410m");
  EXPECT_EQ(job.label(), "pythia-410m c4_copy seed 0");
  job.pretrained.text_order = TextOrder::random;
  job.eval.seed = 4;
  EXPECT_EQ(job.label(), "pythia-410m c4_copy random seed 4");
}

TEST(JobLabel, SaysWhatAPersonLooksFor) {
  Job job;
  job.model.architecture = Architecture::hard_alibi;
  job.train.seed = 1;
  EXPECT_EQ(job.label(), "hard_alibi copy 5..20 seed 1");
  job.task.kind = TaskKind::prefix_ngram;
  job.task.n_gram = 3;
  EXPECT_EQ(job.label(), "hard_alibi prefix_ngram n=3 5..20 seed 1");
}

}  // namespace
}  // namespace recite
