#include "pretrained/examiner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "config/message.h"
#include "eval/evaluate.h"
#include "pretrained/tiny_pretrained.h"
#include "train/thread_group.h"

namespace recite {
namespace {

using nlohmann::json;
using testing::Each;
using testing::HasSubstr;

struct Asked : Examined {
  int tokens = 0;  // written, all prompts together
};

Asked ask(const Job& job) {
  Asked asked;
  SoloCollective solo;
  const EvalPoint point = eval_points(job).front();
  static_cast<Examined&>(asked) = Examiner(job, torch::kCPU).measure(point, {solo, solo}, [&] { ++asked.tokens; });
  return asked;
}

std::vector<Prompt> prompts_of(const Job& job) { return JobPrompts(job).of_length(job.eval, job.eval.lengths[0]); }

std::vector<std::string> predictions(const Examined& examined) {
  std::vector<std::string> all;
  for (const Sample& sample : examined.samples) all.push_back(sample.prediction);
  return all;
}

const std::vector<Follows> yes = {{' ', 'y'}, {'y', 'e'}, {'e', 's'}, {'s', '\n'}, {'\n', '\n'}};

class ExaminerTest : public TinyPretrained {};

TEST_F(ExaminerTest, ScoresAreThoseOfTheAnswers) {
  Job job = job_of(save("model", Architecture::rope, which_says(yes)));
  job.eval.seed = 2;
  const Asked asked = ask(job);

  const std::vector<Prompt> prompts = prompts_of(job);
  ASSERT_EQ(asked.samples.size(), 15u);
  std::array<double, 4> right{};  // of the batches
  for (size_t i = 0; i < 15; ++i) {
    const Sample& sample = asked.samples[i];
    EXPECT_EQ(sample.index, static_cast<int64_t>(i));
    EXPECT_EQ(sample.prompt, prompts[i].text);
    EXPECT_EQ(sample.gold, prompts[i].gold);
    EXPECT_EQ(sample.prediction, "yes");
    EXPECT_EQ(sample.exact_match, sample.gold[0] == "yes");
    EXPECT_DOUBLE_EQ(sample.f1, sample.gold[0] == "no" ? 0 : sample.gold[0] == "yes" ? 1 : 2.0 / 3);
    right[i / 4] += sample.gold[0] == "yes";
  }
  double squares = 0, mean = 0;
  for (size_t b = 0; b < 4; ++b) right[b] /= b < 3 ? 4 : 3;
  for (const double share : right) mean += share / 4;
  for (const double share : right) squares += (share - mean) * (share - mean);
  ASSERT_GT(squares, 0);
  ASSERT_GT(right[3], 0) << "a batch of 3";
  EXPECT_EQ(asked.not_run, "");
  EXPECT_EQ(asked.row.task, "squad");
  EXPECT_EQ(asked.row.length, 50);
  EXPECT_EQ(asked.row.mode, "greedy");
  EXPECT_EQ(asked.row.n, 15);
  EXPECT_DOUBLE_EQ(asked.row.exact_match, 1.0 / 3);
  EXPECT_EQ(asked.row.string_accuracy, asked.row.exact_match);
  EXPECT_NEAR(asked.row.string_accuracy_std, std::sqrt(squares / 4), 1e-12);
  EXPECT_EQ(asked.row.string_accuracy_low, wilson_interval(5, 15).low);
  EXPECT_EQ(asked.row.string_accuracy_high, wilson_interval(5, 15).high);
  EXPECT_NEAR(asked.row.f1, 5.0 / 9, 1e-12);
  EXPECT_TRUE(std::isnan(asked.row.char_accuracy));
  EXPECT_EQ(asked.tokens, 15 * 5) << "the blank line ends an answer";
}

TEST_F(ExaminerTest, OnePromptIsABatch) {
  Job job = job_of(save("model", Architecture::rope, as_drawn), TaskKind::phone_book);
  job.eval.batch_size = job.eval.num_batches = 1;
  const Asked asked = ask(job);
  EXPECT_EQ(asked.row.n, 1);
  EXPECT_EQ(asked.row.string_accuracy, 0);
  EXPECT_EQ(asked.row.string_accuracy_std, 0);
  EXPECT_TRUE(std::isnan(asked.row.f1)) << "squad's alone";
  EXPECT_EQ(asked.samples.size(), 1u);
}

TEST_F(ExaminerTest, SamplesAreKeptWhereTheyAreWanted) {
  Job job = job_of(save("model", Architecture::rope, which_says(yes)));
  job.run.log_samples = false;
  const Asked asked = ask(job);
  EXPECT_EQ(asked.row.n, 15);
  EXPECT_TRUE(asked.samples.empty());
}

TEST_F(ExaminerTest, AnswersThatGoOnAreCutAtTheirOwnPromptsLimit) {
  const std::string model =
      save("model", Architecture::rope, which_says({{' ', 'x'}, {':', 'x'}, {'o', 'x'}, {'x', 'x'}}));
  std::string words;
  for (int i = 0; i < 40; ++i) words += std::string(1 + i * i % 11, 'o') + (i % 4 == 3 ? "\n\n" : " ");
  for (const TaskKind task : {TaskKind::squad, TaskKind::phone_book, TaskKind::c4_copy}) {
    Job job = job_of(model, task);
    write_durably(job.pretrained.c4_corpus = folder_ / "texts.txt", words);
    const std::vector<Prompt> prompts = prompts_of(job);
    const Asked asked = ask(job);
    ASSERT_EQ(asked.samples.size(), prompts.size());
    std::set<int64_t> limits;
    int tokens = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto most = static_cast<size_t>(prompts[i].max_new_tokens);
      EXPECT_EQ(asked.samples[i].prediction, std::string(most, 'x'));
      limits.insert(prompts[i].max_new_tokens);
      tokens += static_cast<int>(most);
    }
    EXPECT_EQ(asked.tokens, tokens);
    EXPECT_EQ(limits.size() > 1, task == TaskKind::c4_copy);
  }
}

TEST_F(ExaminerTest, OnlyATransformerAskedSquadIsForbiddenToEndAtOnce) {
  const std::vector<Follows> ends = {
      {' ', end_token, 2}, {' ', 'x'}, {':', end_token, 2}, {':', 'x'}, {'x', end_token}};
  const std::string neox = save("neox", Architecture::rope, which_says(ends));
  const std::string mamba = save("mamba", Architecture::mamba, which_always_says(end_token, 'x'));
  const auto answers = [](const Job& job) {
    const Asked asked = ask(job);
    EXPECT_EQ(asked.tokens, asked.row.n) << "nothing follows the end of text";
    return predictions(asked);
  };
  EXPECT_THAT(answers(job_of(neox)), Each("x"));
  EXPECT_THAT(answers(job_of(mamba)), Each(""));
  EXPECT_THAT(answers(job_of(neox, TaskKind::phone_book)), Each("<|endoftext|>"));
}

TEST_F(ExaminerTest, TokenizerMayHaveNoEndOfText) {
  Job job = job_of(save("model", Architecture::rope, which_says(yes)));
  job.pretrained.tokenizer = folder_ / "other.json";
  write_durably(job.pretrained.tokenizer, small_tokenizer().dump());
  EXPECT_THAT(predictions(ask(job)), Each("yes"));
}

TEST_F(ExaminerTest, PromptsLongerThanThePositionsAreNotAsked) {
  const Job job = job_of(save("model", Architecture::rope, which_says(yes)));
  size_t longest = 0;
  for (const Prompt& prompt : prompts_of(job)) longest = std::max(longest, prompt.tokens.size());
  const std::string config = job.pretrained.model + "/config.json";
  auto set_positions = [&, read = json::parse(read_text(config))](size_t positions) mutable {
    read["max_position_embeddings"] = positions;
    write_durably(config, read.dump());
  };
  set_positions(longest);
  EXPECT_EQ(ask(job).row.n, 15);

  set_positions(longest - 1);
  const Asked asked = ask(job);
  EXPECT_EQ(asked.not_run, fmt::format("squad 50 was not run: a prompt has {} tokens, and {} has {} positions", longest,
                                       job.pretrained.model, longest - 1));
  EXPECT_EQ(asked.row.task, "squad");
  EXPECT_EQ(asked.row.length, 50);
  EXPECT_EQ(asked.row.n, 0);
  for (const double value :
       {asked.row.string_accuracy, asked.row.string_accuracy_low, asked.row.exact_match, asked.row.f1})
    EXPECT_TRUE(std::isnan(value));
  EXPECT_TRUE(asked.samples.empty());
  EXPECT_EQ(asked.tokens, 0);
}

TEST_F(ExaminerTest, WhatIsThrownBetweenTokensGoesThrough) {
  const Job job = job_of(save("model", Architecture::rope, as_drawn));
  SoloCollective solo;
  Examiner examiner(job, torch::kCPU);
  int left = 10;
  const auto stop = [&] {
    if (--left == 0) throw PeerLost("stopped");
  };
  EXPECT_THROW(examiner.measure({TaskKind::squad, 0, 50}, {solo, solo}, stop), PeerLost);
  EXPECT_EQ(left, 0);
  EXPECT_EQ(examiner.measure({TaskKind::squad, 0, 50}, {solo, solo}, [] {}).row.n, 15) << "and it can be asked again";
}

TEST_F(ExaminerTest, WeightsMustBeFiniteInTheJobsPrecision) {
  Job job = job_of(
      save("model", Architecture::rope, [](Model& changed) { weight_of(changed, "embed_out.weight")[3][5] = 1e5; }));
  const auto refused = [&] { return refusal([&] { Examiner(job, torch::kCPU); }); };
  EXPECT_EQ(refused(), "taken");
  job.train.precision = Precision::float16;
  EXPECT_THAT(refused(), testing::AllOf(HasSubstr(job.pretrained.model + "/model.safetensors"),
                                        HasSubstr("embed_out.weight"), HasSubstr("not finite")));
}

class EveryExaminer : public TinyPretrained, public testing::WithParamInterface<Architecture> {
 protected:
  // Its answers differ, so that a mistaken one shows.
  Job drawn_job() const { return job_of(save("model", GetParam(), as_drawn)); }
};

TEST_P(EveryExaminer, BatchesDoNotChangeAnswers) {
  Job job = drawn_job();
  const Asked expected = ask(job);
  const std::vector<std::string> answers = predictions(expected);
  EXPECT_GT(std::set(answers.begin(), answers.end()).size(), 10u);
  for (const int size : {1, 14, 15, 100}) {
    job.eval.batch_size = size;
    EXPECT_EQ(json(ask(job).samples).dump(), json(expected.samples).dump()) << size;
  }
}

TEST_P(EveryExaminer, EveryNumberOfRanksGivesTheSame) {
  const Job job = drawn_job();
  const Asked alone = ask(job);
  for (const int ranks : {2, 3, 6}) {  // of 4 batches
    ThreadGroup::run(ranks, [&](Group group) {
      const Examined examined = Examiner(job, torch::kCPU).measure(eval_points(job)[0], group, [] {});
      EXPECT_EQ(json(examined.row).dump(), json(alone.row).dump()) << ranks;
      EXPECT_EQ(json(examined.samples).dump(), json(alone.samples).dump()) << ranks;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Both, EveryExaminer, testing::Values(Architecture::rope, Architecture::mamba),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

}  // namespace
}  // namespace recite
