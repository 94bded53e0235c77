// Sweep files that are refused before anything starts, and what the message says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/sweep_file.h"
#include "message.h"

namespace recite {
namespace {

using testing::HasSubstr;

struct BadFile {
  const char* name;
  std::string text;
  std::vector<std::string> says;  // all of it is in the message
};

class Refused : public testing::TestWithParam<BadFile> {};

TEST_P(Refused, WithAMessageThatHelps) {
  const std::string message =
      refusal([] { parse_sweep(GetParam().text, "bad.ini", {}, {.workers = 2, .has_gpu = false}); });
  for (const std::string& part : GetParam().says) EXPECT_THAT(message, HasSubstr(part));
}

INSTANTIATE_TEST_SUITE_P(
    BadInput, Refused,
    testing::Values(
        BadFile{"UnknownKey",
                "[train]\nsteps = 5\nlearning_rat = 1\n",
                {"bad.ini:3", "'learning_rat'", "[train]", "did you mean 'learning_rate'"}},
        BadFile{"KeyOfAnotherSection", "[model]\nsteps = 5\n", {"bad.ini:2", "'steps'", "section [train]"}},
        BadFile{"UnknownSection", "\n[tran]\n\nsteps = 5\n", {"bad.ini:2:", "[tran]", "did you mean 'train'"}},
        BadFile{"UnknownModel",
                "[sweep]\nmodel = mabma\n",
                {"bad.ini:2", "sweep.model", "did you mean 'mamba'", "hard_alibi"}},
        BadFile{"UnknownTask", "[sweep]\ntask = cpoy\n", {"bad.ini:2", "sweep.task", "did you mean 'copy'"}},
        BadFile{"BadNumber", "[train]\nsteps = many\n", {"bad.ini:2", "train.steps = many", "an integer >= 1"}},
        BadFile{
            "ListWithoutCommas", "[eval]\nlengths = 4 6 8\n", {"bad.ini:2", "eval.lengths", "a comma between values"}},
        BadFile{"AxisAsAList", "[sweep]\nmodel = rope, mamba\n", {"bad.ini:2", "'rope, mamba'", "one by one"}},
        BadFile{"BadListValue", "[eval]\nlengths = 10:95:10\n", {"bad.ini:2", "eval.lengths", "90 or 100"}},
        BadFile{"ListRepeated",
                "[eval]\nlengths = 10\nlengths = 20\n",
                {"bad.ini:3", "bad.ini:2", "eval.lengths", "never an axis", "lengths = 10, 20"}},
        BadFile{
            "SharedRepeated", "[run]\ndevice = cpu\ndevice = cuda\n", {"bad.ini:3", "run.device", "cannot be an axis"}},
        BadFile{"EmptyGridByExclusion",
                "[sweep]\nmodel = rope\nmodel = nope\nexclude = model=rope\nexclude = model=nope\n",
                {"bad.ini", "2 combinations", "'model=rope' removed 1", "'model=nope' removed 1"}},
        BadFile{"EmptyGridByOnly", "[sweep]\nonly = model=lstm\n", {"no job is left", "sweep.only 'model=lstm'"}},
        BadFile{"LengthsDoNotFit",
                "[train]\nmax_length = 300\n",
                {"bad.ini", "train.max_length = 300", "603", "train.context_length = 220", "rope copy 5..300"}},
        BadFile{"HeadsDoNotDivide", "[model]\nheads = 7\n", {"model.heads = 7", "model.hidden_size = 1024"}},
        BadFile{"MoreMaskedHeads",
                "[sweep]\nmodel = hard_alibi\n[model]\nheads = 4\n",
                {"model.num_masked_heads = 8", "model.heads = 4"}},
        BadFile{"NgramTooLong",
                "[sweep]\ntask = prefix_ngram\n[task]\nn_gram = 5\n",
                {"train.min_length = 5", "task.n_gram = 5"}},
        BadFile{"TooManyRanks", "[sweep]\nranks_per_job = 4\n", {"sweep.ranks_per_job = 4", "2 workers"}},
        BadFile{"BatchNotDivisible",
                "[sweep]\nranks_per_job = 2\n[train]\nbatch_size = 7\n",
                {"train.batch_size = 7", "sweep.ranks_per_job = 2"}},
        BadFile{"TrainingInFloat16", "[train]\nprecision = float16\n", {"train.precision = float16", "bf16"}},
        BadFile{"TextWithoutAModel", "[sweep]\ntask = c4_copy\n", {"sweep.task = c4_copy", "pretrained.model"}},
        BadFile{"TextEvaluatedOnATrainedModel", "[eval]\ntask = squad\n", {"eval.task = squad", "pretrained.model"}},
        BadFile{"LettersForAPretrainedModel",
                "[pretrained]\nmodel = models/a\n",
                {"sweep.task = copy", "models/a", "c4_copy, phone_book or squad"}},
        BadFile{"NoTextsToCopy",
                "[sweep]\ntask = c4_copy\n[pretrained]\nmodel = a\n",
                {"pretrained.c4_corpus is needed", "a c4_copy seed 0"}},
        BadFile{"NoQuestions",
                "[sweep]\ntask = squad\n[pretrained]\nmodel = a\n[eval]\nlengths = 50\n",
                {"pretrained.squad_file is needed"}},
        BadFile{"NoUpperEdgeOfABin",
                "[sweep]\ntask = squad\n[pretrained]\nmodel = a\nsquad_file = b\n[eval]\nlengths = 50, 75\n",
                {"eval.lengths = 75", "multiples of pretrained.squad_bins = 50"}},
        BadFile{"ShortPhoneBook",
                "[sweep]\ntask = phone_book\n[pretrained]\nmodel = a\n[eval]\nlengths = 2\n",
                {"eval.lengths = 2", "at least 3 entries"}},
        BadFile{"OtherTasksOfAPretrainedModel",
                "[sweep]\ntask = phone_book\n[pretrained]\nmodel = a\n[eval]\ntask = phone_book, copy\n",
                {"eval.task = copy", "sweep.task = phone_book"}},
        BadFile{"LongFolderName",
                "[sweep]\ntask = phone_book\n[pretrained]\nmodel = models/a-folder-with-a-name-that-is-too-long\n",
                {"pretrained.model", "32 bytes"}},
        BadFile{"NoLengths",
                "[sweep]\ntask = phone_book\n[pretrained]\nmodel = a\n[eval]\nlengths =\n",
                {"eval.lengths is empty"}},
        BadFile{"SpecificationTooLong", "[eval]\nlengths = 1:3000\n", {"8192", "eval.lengths"}},
        BadFile{"GridTooLarge",
                [] {
                  std::string text = "[train]\n";
                  for (const char* key : {"steps", "warmup_steps", "max_length"}) {
                    for (int i = 20; i < 80; ++i) text += std::string(key) + " = " + std::to_string(i) + "\n";
                  }
                  return text;
                }(),
                {"more than 100000 combinations"}},
        BadFile{"ResolvedTextTooLong",
                [] {
                  std::string text = "[sweep]\n";
                  for (int i = 0; i < 2000; ++i) text += "seed = " + std::to_string(i) + "\n";
                  return text;
                }(),
                {"16384", "two sweeps"}}),
    [](const auto& test) { return test.param.name; });

TEST(CommandLineValues, AreRefusedAsThoseOfTheFile) {
  EXPECT_THAT(refusal([] { parse_sweep("", "bad.ini", {{"train.steps", "x"}}, {}); }),
              testing::AllOf(HasSubstr("command line"), HasSubstr("train.steps = x")));
  EXPECT_THAT(refusal([] { parse_sweep("", "bad.ini", {{"eval.lengths", "1"}, {"eval.lengths", "2"}}, {}); }),
              HasSubstr("never an axis"));
}

}  // namespace
}  // namespace recite
