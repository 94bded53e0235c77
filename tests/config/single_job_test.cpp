// One job from the command line: verbs train and eval.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/text.h"
#include "config/command_line.h"
#include "config/sweep_file.h"
#include "message.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const Verb train{.name = "train",
                 .summary = {},
                 .description = {},
                 .operands = {},
                 .options = {},
                 .sections = {"sweep", "run", "task", "model", "train", "eval"},
                 .examples = {}};

Sweep train_of(const std::string& line) {
  return load_single_job(parse_arguments(train, split(line, ' ')).settings, {.workers = 1, .has_gpu = false});
}

TEST(SingleJob, PublishedExampleMeasuresItsOneLength) {
  const Sweep sweep = train_of(
      "--model T_rope --train_task copy --eval_task copy --min_train_len 5 --max_train_len 20 --min_eval_len 20 "
      "--max_eval_len 20");
  ASSERT_EQ(sweep.jobs.size(), 1u);
  const Job& job = sweep.jobs.front();
  EXPECT_EQ(job.model.architecture, Architecture::rope);
  EXPECT_THAT(job.eval.lengths, ElementsAre(20));
  EXPECT_THAT(job.eval.tasks, ElementsAre(TaskKind::copy));
}

TEST(SingleJob, DefaultsAreThePublishedOnes) {
  const Job job = load_single_job({}, {}).jobs.front();
  nlohmann::json expected = Job{};
  expected["run"]["device"] = "cpu";
  EXPECT_EQ(nlohmann::json(job), expected);
  EXPECT_EQ(job.eval.lengths.front(), 10);
  EXPECT_EQ(job.eval.lengths.back(), 20);
  EXPECT_EQ(job.eval.lengths.size(), 11u);
}

TEST(SingleJob, EveryPublishedNameDoesWhatItSays) {
  const Job job = train_of(
                      "--train_task prefix_ngram --eval_task suffix_ngram --vocab_size 20 --n_gram 2 --length_answer 3 "
                      "--model T_hard_alibi --hidden_size 64 --layers 2 --heads 4 --num_masked_heads 3 --state_dim 8 "
                      "--lr 1e-3 --epochs 2 --steps 50 --train_batch_size 16 --eval_batch_size 32 --eval_num_batches 4 "
                      "--min_train_len 6 --max_train_len 24 --min_eval_len 12 --max_eval_len 30 --eval_len_step 6 "
                      "--context_len 100 --eval_context_len 90")
                      .jobs.front();
  EXPECT_EQ(job.task.kind, TaskKind::prefix_ngram);
  EXPECT_THAT(job.eval.tasks, ElementsAre(TaskKind::suffix_ngram));
  EXPECT_EQ(job.task.vocab_size, 20);
  EXPECT_EQ(job.task.n_gram, 2);
  EXPECT_EQ(job.task.length_answer, 3);
  EXPECT_EQ(job.model.architecture, Architecture::hard_alibi);
  EXPECT_EQ(job.model.hidden_size, 64);
  EXPECT_EQ(job.model.layers, 2);
  EXPECT_EQ(job.model.heads, 4);
  EXPECT_EQ(job.model.num_masked_heads, 3);
  EXPECT_EQ(job.model.state_dim, 8);
  EXPECT_EQ(job.train.learning_rate, 1e-3);
  EXPECT_EQ(job.train.total_steps(), 100);
  EXPECT_EQ(job.train.batch_size, 16);
  EXPECT_EQ(job.eval.batch_size, 32);
  EXPECT_EQ(job.eval.num_batches, 4);
  EXPECT_EQ(job.train.min_length, 6);
  EXPECT_EQ(job.train.max_length, 24);
  EXPECT_THAT(job.eval.lengths, ElementsAre(12, 18, 24, 30));
  EXPECT_EQ(job.train.context_length, 100);
  EXPECT_EQ(job.eval.context_length, 90);
}

TEST(SingleJob, OnePublishedEndKeepsTheOther) {
  EXPECT_THAT(train_of("--min_eval_len 18").jobs.front().eval.lengths, ElementsAre(18, 19, 20));
  EXPECT_THAT(train_of("--max_eval_len=12").jobs.front().eval.lengths, ElementsAre(10, 11, 12));
  EXPECT_THAT(refusal([] { train_of("--min_eval_len 30"); }), HasSubstr("--max_eval_len = 20"));
  EXPECT_THAT(refusal([] { train_of("--min_eval_len 15 --lengths 3"); }), HasSubstr("one of them"));
  EXPECT_THAT(refusal([] { train_of("--eval_len_step 0"); }), HasSubstr("--eval_len_step = 0"));
}

TEST(SingleJob, HasNoAxes) {
  EXPECT_THAT(refusal([] { train_of("--lr 1 --lr 2"); }),
              AllOf(HasSubstr("train.learning_rate"), HasSubstr("2 times")));
}

TEST(WithOptions, ReplaceWhatASavedJobMeasures) {
  Job saved;
  saved.run.device = DeviceKind::cuda;
  saved.run.threads = 7;
  saved.ranks = 2;
  const Job job = with_options(saved, {{"eval.lengths", "5, 6"}}, {.workers = 1, .has_gpu = false});
  EXPECT_THAT(job.eval.lengths, ElementsAre(5, 6));
  EXPECT_EQ(job.run.device, DeviceKind::cpu);
  EXPECT_EQ(job.run.threads, 0);
  EXPECT_EQ(with_options(saved, {{"run.threads", "2"}}, {}).run.threads, 2);
  EXPECT_EQ(job.id(), saved.id());
  EXPECT_THAT(refusal([&] { with_options(saved, {{"eval.context_length", "10"}}, {}); }),
              HasSubstr("eval.context_length"));
}

}  // namespace
}  // namespace recite
