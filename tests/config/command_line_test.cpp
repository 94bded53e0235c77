#include "config/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/options.h"
#include "message.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

Verb some_verb() {
  return {.name = "try",
          .summary = "Tries.",
          .description = "At length.",
          .operands = {"FILE", "[OTHER]"},
          .options = {{"output", 'o', "RESULTS", "where to", {}},
                      {"retry-failed", 0, "", "again", {}},
                      {"model", 0, "DIR", "a folder", {}},
                      {"how", 0, "HOW", "which", {"fast", "slow"}}},
          .sections = {"sweep", "run", "pretrained", "train", "eval"},
          .examples = {{"recite try a.ini", "tries it"}}};
}

Arguments parse(const std::vector<std::string>& words) { return parse_arguments(some_verb(), words); }

TEST(ParseArguments, OptionsAndOperandsInAnyOrder) {
  const Arguments given = parse({"--retry-failed", "a.ini", "-o", "x.h5", "--train.steps=5", "--lr", "1e-3", "b"});
  EXPECT_THAT(given.operands, ElementsAre("a.ini", "b"));
  EXPECT_TRUE(given.has("retry-failed"));
  EXPECT_FALSE(given.has("how"));
  EXPECT_EQ(given.text("output"), "x.h5");
  EXPECT_THAT(given.settings, ElementsAre(Pair("train.steps", "5"), Pair("train.learning_rate", "1e-3")));
  EXPECT_FALSE(given.help);
}

TEST(ParseArguments, DashesAndUnderlinesAreEqual) {
  EXPECT_TRUE(parse({"a", "--retry_failed"}).has("retry-failed"));
  EXPECT_THAT(parse({"a", "--train.learning-rate=1"}).settings, ElementsAre(Pair("train.learning_rate", "1")));
  EXPECT_THAT(parse({"a", "--train.precision=tf-32"}).settings, ElementsAre(Pair("train.precision", "tf-32")));
}

TEST(ParseArguments, AListMayBeEmpty) {
  const Arguments given = parse({"a", "--eval.every_lengths=", "--train.steps=5"});
  EXPECT_THAT(given.settings, ElementsAre(Pair("eval.every_lengths", ""), Pair("train.steps", "5")));
  EXPECT_THAT(given.operands, ElementsAre("a"));
}

TEST(ParseArguments, OwnOptionsComeBeforeAliases) {
  const Arguments given = parse({"a", "--model", "folder", "--sweep.model", "mamba"});
  EXPECT_EQ(given.text("model"), "folder");
  EXPECT_THAT(given.settings, ElementsAre(Pair("sweep.model", "mamba")));
}

TEST(ParseArguments, FlagsOfSectionsNeedNoValue) {
  EXPECT_THAT(parse({"--save-models", "a"}).settings, ElementsAre(Pair("run.save_models", "true")));
  EXPECT_THAT(parse({"a", "--run.save_models=false"}).settings, ElementsAre(Pair("run.save_models", "false")));
  EXPECT_THAT(parse({"--save-models", "a"}).operands, ElementsAre("a"));
}

TEST(ParseArguments, EveryOptionOfTheTableIsTaken) {
  for (const Option& option : options()) {
    if (option.section == "task" || option.section == "model") continue;
    EXPECT_THAT(parse({"a", "--" + option.name() + "=x"}).settings, ElementsAre(Pair(option.name(), "x")));
    for (const std::string& alias : option.aliases) {
      if (alias == "model") continue;
      EXPECT_THAT(parse({"a", "--" + alias + "=x"}).settings, ElementsAre(Pair(option.name(), "x")));
    }
  }
}

TEST(ParseArguments, TwoDashesEndOptions) { EXPECT_THAT(parse({"--", "--odd"}).operands, ElementsAre("--odd")); }

TEST(ParseArguments, WrongUseIsRefused) {
  EXPECT_THAT(refusal([] { parse({"a", "--train.step=5"}); }),
              AllOf(HasSubstr("unknown option '--train.step'"), HasSubstr("did you mean '--train.steps'")));
  EXPECT_THAT(refusal([] { parse({"a", "--hidden_size=5"}); }), HasSubstr("unknown option"));  // no section [model]
  EXPECT_THAT(refusal([] { parse({"a", "-x"}); }), HasSubstr("unknown option '-x'"));
  EXPECT_THAT(refusal([] { parse({}); }), AllOf(HasSubstr("FILE is missing"), HasSubstr("recite try FILE [OTHER]")));
  EXPECT_THAT(refusal([] { parse({"a", "b", "c"}); }), HasSubstr("'c' is one word too many"));
  EXPECT_THAT(refusal([] { parse({"a", "--output"}); }), HasSubstr("output"));
  EXPECT_THAT(refusal([] { parse({"a", "--retry-failed=yes"}); }), HasSubstr("retry"));
}

TEST(ParseArguments, NumbersAreChecked) {
  const Arguments given = parse({"a", "--how", "7"});
  EXPECT_EQ(given.integer("how", 1, 0, 10), 7);
  EXPECT_EQ(given.integer("output", 3, 0, 10), 3);
  EXPECT_THAT(refusal([&] { given.integer("how", 1, 0, 5); }), AllOf(HasSubstr("--how = 7"), HasSubstr("0..5")));
  EXPECT_EQ(given.number("how", 0, 0, 10), 7.0);
  EXPECT_THAT(refusal([&] { given.number("how", 0, 8, 10); }), HasSubstr("8..10"));
}

TEST(ParseArguments, HelpIsEnough) {
  EXPECT_TRUE(parse({"--help"}).help);
  EXPECT_TRUE(parse({"-h", "--nonsense"}).help);
  EXPECT_FALSE(parse({"--", "--help"}).help);
}

TEST(HelpText, NamesEveryOptionDefaultAndExample) {
  const std::string help = help_text(some_verb());
  EXPECT_THAT(help,
              AllOf(HasSubstr("Usage: recite try FILE [OTHER] [OPTIONS]"), HasSubstr("At length."),
                    HasSubstr("-o [ --output ] RESULTS"), HasSubstr("recite try a.ini"), HasSubstr("--min_eval_len")));
  for (const Option& option : options()) {
    const bool shown = option.section != "task" && option.section != "model";
    EXPECT_EQ(help.find("--" + option.name() + " ") != std::string::npos, shown) << option.name();
  }
  EXPECT_THAT(help, HasSubstr("[2000]"));
}

// A verb that takes one option of a section, and whose defaults are its own.
Verb verb_of_few() {
  Verb verb = some_verb();
  verb.sections = {"train.precision", "eval"};
  verb.defaults = {{"eval.lengths", "30"}, {"eval.batch_size", "32"}};
  return verb;
}

TEST(SingleOptions, OfASectionAreTakenWithoutTheRest) {
  const auto settings = parse_arguments(verb_of_few(), {"a", "--train.precision=bf16"}).settings;
  EXPECT_THAT(settings, ElementsAre(Pair("train.precision", "bf16")));
  EXPECT_THAT(refusal([] { parse_arguments(verb_of_few(), {"a", "--train.steps=5"}); }), HasSubstr("unknown option"));
  const std::string help = help_text(verb_of_few());
  EXPECT_THAT(help, AllOf(HasSubstr("[train]"), HasSubstr("--train.precision"), Not(HasSubstr("--train.steps"))));
}

TEST(DefaultsOfAVerb, StandInForWhatWasNotGiven) {
  EXPECT_THAT(with_defaults(verb_of_few(), {{"eval.batch_size", "8"}}),
              ElementsAre(Pair("eval.batch_size", "8"), Pair("eval.lengths", "30")));
  Verb verb = verb_of_few();
  verb.sections = {"eval.lengths", "eval.batch_size"};
  const std::string help = help_text(verb);
  EXPECT_THAT(help,
              AllOf(HasSubstr("--min_eval_len"), HasSubstr("[30]"), HasSubstr("[32]"), Not(HasSubstr("[10:20:1]"))));
  EXPECT_THAT(parse_arguments(verb_of_few(), {"a", "--max_eval_len=50", "--eval_len_step=20"}).settings,
              ElementsAre(Pair("eval.lengths", "30:50:20")));
}

TEST(OptionWords, AreAllTaken) {
  for (const OptionWord& word : option_words(some_verb())) {
    if (word.word == "--help") continue;
    std::vector<std::string> words = {"a", word.word};
    if (word.takes_value) words.push_back("15");
    EXPECT_NO_THROW(parse(words)) << word.word;
  }
}

}  // namespace
}  // namespace recite
