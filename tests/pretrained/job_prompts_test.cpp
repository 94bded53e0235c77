#include "pretrained/job_prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "config/message.h"
#include "pretrained/tiny_pretrained.h"

namespace recite {
namespace {

using testing::HasSubstr;

std::vector<std::string> texts_of(const Job& job, int length) {
  std::vector<std::string> texts;
  const JobPrompts prompts(job);
  for (const Prompt& prompt : prompts.of_length(job.eval, length)) {
    EXPECT_EQ(prompt.tokens, prompts.tokenizer().encode(prompt.text));
    texts.push_back(prompt.text);
  }
  return texts;
}

// No model but its tokenizer is read.
class JobPromptsTest : public TinyPretrained {
 protected:
  std::string save_tokenizer(const std::string& name) const {
    std::filesystem::create_directory(folder_ / name);
    write_durably(folder_ / name + "/tokenizer.json", tiny_tokenizer().dump());
    return folder_ / name;
  }

  const std::string model_ = save_tokenizer("model");
};

TEST_F(JobPromptsTest, AreBatchesOfThemAndOfSquadAllOfTheBin) {
  Job job = job_of(model_, TaskKind::phone_book);
  for (const auto& [size, batches] : {std::pair{1, 1}, {3, 2}, {7, 1}}) {
    job.eval.batch_size = size;
    job.eval.num_batches = batches;
    const std::vector<std::string> texts = texts_of(job, 5);
    ASSERT_EQ(texts.size(), static_cast<size_t>(size * batches));
    for (size_t i = 0; i < texts.size(); ++i)
      EXPECT_EQ(texts[i], JobPrompts(job).source().prompt(5, static_cast<int64_t>(i)).text);
    EXPECT_EQ(texts_of(job_of(model_), 50).size(), 15u);
  }
  job = job_of(model_);
  job.pretrained.squad_contexts = 4;
  EXPECT_EQ(texts_of(job, 50).size(), 4u);
}

TEST_F(JobPromptsTest, AreTheSameForModelsWithTheSameTokenizer) {
  for (const auto& [task, length] : {std::pair{TaskKind::phone_book, 9}, {TaskKind::squad, 50}}) {
    const Job job = job_of(model_, task);
    const std::vector<std::string> expected = texts_of(job, length);

    Job other = job_of(save_tokenizer("other"), task);
    other.train.seed = 8;
    other.train.precision = Precision::float16;
    other.eval.batch_size = 12;
    other.eval.num_batches = 1;
    EXPECT_EQ(texts_of(other, length), expected);
    other.pretrained.model = "not read";
    other.pretrained.tokenizer = model_ + "/tokenizer.json";
    EXPECT_EQ(texts_of(other, length), expected);
    other.eval.seed = 1;
    EXPECT_NE(texts_of(other, length), expected);
  }
}

TEST_F(JobPromptsTest, TakeTheOptionsOfTheJob) {
  Job job = job_of("models/pythia", TaskKind::c4_copy);
  job.pretrained.c4_corpus = "c4";
  job.pretrained.text_order = TextOrder::random;
  job.pretrained.decode_cleanup = DecodeCleanup::published;
  job.pretrained.squad_normalisation = SquadNormalisation::official;
  job.pretrained.squad_bins = 7;
  job.pretrained.squad_contexts = 5;
  job.eval.seed = 3;
  job.train.seed = 4;
  const PromptSpec spec = prompt_spec(job);
  EXPECT_EQ(spec.kind, TextTask::c4_copy);
  EXPECT_EQ(spec.corpus, "c4");
  EXPECT_EQ(spec.text_order, TextOrder::random);
  EXPECT_EQ(spec.decode_cleanup, DecodeCleanup::published);
  EXPECT_EQ(spec.squad_normalisation, SquadNormalisation::official);
  EXPECT_EQ(spec.squad_bins, 7);
  EXPECT_EQ(spec.squad_contexts, 5);
  EXPECT_EQ(spec.seed, 3u);

  job.task.kind = TaskKind::squad;
  EXPECT_EQ(prompt_spec(job).kind, TextTask::squad);
  EXPECT_EQ(prompt_spec(job).corpus, squad_);
  job.task.kind = TaskKind::phone_book;
  EXPECT_EQ(prompt_spec(job).kind, TextTask::phone_book);
  EXPECT_EQ(prompt_spec(job).corpus, "");
  job.task.kind = TaskKind::copy;
  EXPECT_THROW(prompt_spec(job), Error);

  EXPECT_EQ(tokenizer_path(job), "models/pythia/tokenizer.json");
  job.pretrained.model += "/";
  EXPECT_EQ(tokenizer_path(job), "models/pythia/tokenizer.json");
  job.pretrained.tokenizer = "own.json";
  EXPECT_EQ(tokenizer_path(job), "own.json");
}

TEST_F(JobPromptsTest, RefusalsNameTheFile) {
  const auto refused = [](const Job& job) { return refusal([&] { JobPrompts prompts(job); }); };
  Job job = job_of(model_);
  EXPECT_EQ(refused(job), "taken");
  job.pretrained.squad_file = folder_ / "none.json";
  EXPECT_THAT(refused(job), HasSubstr(job.pretrained.squad_file + ": cannot be opened"));
  job.pretrained.tokenizer = folder_ / "other.json";
  EXPECT_THAT(refused(job), testing::AllOf(HasSubstr(job.pretrained.tokenizer),
                                           testing::Not(HasSubstr("pretrained.tokenizer names another"))));
  job.pretrained.tokenizer = folder_.path();
  EXPECT_THAT(refused(job), HasSubstr(folder_.path() + ": "));
  job.pretrained.tokenizer = folder_ / "other.json";
  write_durably(job.pretrained.tokenizer, "{");
  EXPECT_THAT(refused(job), HasSubstr(job.pretrained.tokenizer));
  EXPECT_EQ(refused(job_of(folder_ / "bare")),
            folder_ / "bare/tokenizer.json" +
                ": no such file; pretrained.tokenizer names another tokenizer.json for a folder without one");
}

}  // namespace
}  // namespace recite
