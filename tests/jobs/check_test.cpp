#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "base/error.h"
#include "jobs/job.h"

namespace recite {
namespace {

using testing::HasSubstr;

struct BadJob {
  const char* name;
  std::function<void(Job&)> spoil;
  std::vector<std::string> says;  // all of it is in the message
};

class CheckJob : public testing::TestWithParam<BadJob> {};

TEST_P(CheckJob, IsRefusedWithTheOptionAndWhatIsAllowed) {
  Job job;
  GetParam().spoil(job);
  try {
    check_job(job);
    FAIL() << "taken";
  } catch (const UsageError& error) {
    for (const std::string& part : GetParam().says) EXPECT_THAT(error.what(), HasSubstr(part));
  }
}

void look_up(Job& job, int n_gram) {
  job.task.kind = TaskKind::suffix_ngram;
  job.task.n_gram = n_gram;
}

INSTANTIATE_TEST_SUITE_P(
    BadInput, CheckJob,
    testing::Values(
        BadJob{"CopyTooLongForContext",
               [](Job& job) { job.train.max_length = 109; },
               {"train.max_length = 109", "221 tokens", "train.context_length = 220", "to 221"}},
        BadJob{"LengthsSwapped",
               [](Job& job) { job.train.min_length = 21; },
               {"train.min_length = 21", "train.max_length = 20"}},
        BadJob{"HeadsDoNotDivide",
               [](Job& job) { job.model.heads = 10; },
               {"model.heads = 10", "model.hidden_size = 1024"}},
        BadJob{"RopeRotatesPairs",
               [](Job& job) { job.model.hidden_size = 64; },
               {"model.heads = 16", "rope", "4 dimensions"}},
        BadJob{"TrainedInFloat16",
               [](Job& job) { job.train.precision = Precision::float16; },
               {"train.precision = float16", "bf16"}},
        BadJob{"MoreMaskedHeadsThanHeads",
               [](Job& job) {
                 job.model.architecture = Architecture::hard_alibi;
                 job.model.num_masked_heads = 17;
               },
               {"model.num_masked_heads = 17", "model.heads = 16"}},
        BadJob{
            "LookUpWithoutKey", [](Job& job) { look_up(job, 0); }, {"task.n_gram = 0", "suffix_ngram", "at least 1"}},
        BadJob{"KeyAsLongAsTheString",
               [](Job& job) { look_up(job, 5); },
               {"train.min_length = 5", "task.n_gram = 5", "at least 6"}},
        BadJob{"AnswerDoesNotFollowTheKey",
               [](Job& job) {
                 look_up(job, 3);
                 job.task.length_answer = 3;
               },
               {"train.min_length = 5", "length_answer = 3", "at least 6"}},
        BadJob{"EvaluationKeyTooLong",
               [](Job& job) {
                 job.eval.tasks = {TaskKind::duplicate_ngram};
                 job.eval.n_grams = {2, 10};
               },
               {"eval.lengths = 10", "duplicate_ngram", "eval.n_gram = 10", "at least 11"}},
        BadJob{"EvaluationTooLongForContext",
               [](Job& job) { job.eval.context_length = 42; },
               {"eval.lengths = 20", "43 tokens", "eval.context_length = 42"}},
        BadJob{"TrainedOnDuplicates",
               [](Job& job) {
                 job.task.kind = TaskKind::duplicate_ngram;
                 job.task.n_gram = 2;
               },
               {"duplicate_ngram is for evaluation only"}},
        BadJob{"DuplicatesOfOneLetter",
               [](Job& job) {
                 job.task.vocab_size = 1;
                 job.eval.tasks = {TaskKind::duplicate_ngram};
                 job.eval.n_grams = {1};
               },
               {"task.vocab_size"}},
        BadJob{"TooManyLetters", [](Job& job) { job.task.vocab_size = 27; }, {"task.vocab_size = 27", "1..26"}},
        BadJob{
            "BatchNotDivisible", [](Job& job) { job.ranks = 3; }, {"train.batch_size = 8", "sweep.ranks_per_job = 3"}},
        BadJob{"NoLengths", [](Job& job) { job.eval.lengths = {}; }, {"eval.lengths"}},
        BadJob{"StopNeverLookedAt", [](Job& job) { job.eval.stop_at_accuracy = 0.9; }, {"eval.every"}},
        BadJob{"StopLengthTooShort",
               [](Job& job) {
                 look_up(job, 2);
                 job.eval.every = 10;
                 job.eval.stop_at_accuracy = 0.9;
                 job.eval.stop_length = 2;
               },
               {"eval.stop_length = 2", "at least 3"}},
        BadJob{"MeasuredOftenButNotAtTheEnd",
               [](Job& job) { job.eval.every_lengths = {15, 25}; },
               {"eval.every_lengths has 25", "eval.lengths"}},
        BadJob{"SpecificationTooLong",
               [](Job& job) {
                 job.eval.lengths.resize(3000);
                 std::iota(job.eval.lengths.begin(), job.eval.lengths.end(), 1);
               },
               {"8192", "3000 values"}}),
    [](const auto& test) { return test.param.name; });

TEST(CheckJobTakes, TheDefaults) { EXPECT_NO_THROW(check_job(Job{})); }

TEST(CheckJobTakes, LengthsThatJustFit) {
  Job job;
  job.train.max_length = 108;  // 2 * 108 + 3 = 219 <= 220
  EXPECT_NO_THROW(check_job(job));
  job.train.context_length = 219;
  EXPECT_NO_THROW(check_job(job));
  job.train.context_length = 218;
  EXPECT_THROW(check_job(job), UsageError);
}

TEST(CheckJobTakes, HeadsThatTheModelDoesNotUse) {
  Job job;
  job.model.heads = 10;
  job.model.architecture = Architecture::mamba;
  EXPECT_NO_THROW(check_job(job));
  job.model.architecture = Architecture::nope;
  EXPECT_THROW(check_job(job), UsageError);
}

TEST(CheckJobTakes, AKeyThatJustFits) {
  Job job;
  look_up(job, 4);
  EXPECT_NO_THROW(check_job(job));
}

}  // namespace
}  // namespace recite
