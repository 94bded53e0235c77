// The table of verbs: help and examples of each.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/text.h"
#include "captured.h"
#include "commands/commands.h"
#include "config/sweep_file.h"

namespace recite {
namespace {

using testing::HasSubstr;

class EachVerb : public testing::TestWithParam<Verb> {};

INSTANTIATE_TEST_SUITE_P(Verbs, EachVerb, testing::ValuesIn(verbs()), [](const auto& test) { return test.param.name; });

TEST_P(EachVerb, PrintsItsHelp) {
  const Ran asked = ran({GetParam().name, "--help"});
  EXPECT_EQ(asked.code, 0);
  EXPECT_EQ(asked.err, "");
  EXPECT_THAT(asked.out, HasSubstr("Usage: recite " + GetParam().name));
  EXPECT_THAT(asked.out, HasSubstr(GetParam().summary));
  for (const VerbOption& option : GetParam().options) EXPECT_THAT(asked.out, HasSubstr(option.help.substr(0, 20)));
  EXPECT_EQ(ran({"help", GetParam().name}).out, asked.out);
  EXPECT_THAT(ran({"help"}).out, HasSubstr(GetParam().summary));
}

TEST_P(EachVerb, HelpEndsWithThreeExamples) {
  ASSERT_EQ(GetParam().examples.size(), 3u);
  const std::string help = help_text(GetParam());
  const size_t examples = help.find("\nExamples:\n");
  ASSERT_NE(examples, std::string::npos);
  for (const Example& example : GetParam().examples) EXPECT_THAT(help.substr(examples), HasSubstr(example.command));
  const std::string last = GetParam().examples.back().says + "\n";
  EXPECT_EQ(help.substr(help.size() - last.size()), last);
}

// The words of an example that the verb gets: up to the shell's own.
std::vector<std::string> words_of(const std::string& command) {
  std::string line = command.substr(command.find("recite ") + 7);
  line = line.substr(0, line.find_first_of("|>)"));
  std::vector<std::string> words = split(trim(line), ' ');
  words.erase(words.begin());
  return words;
}

TEST_P(EachVerb, ExamplesAreTaken) {
  for (const Example& example : GetParam().examples) {
    Arguments given;
    ASSERT_NO_THROW(given = parse_arguments(GetParam(), words_of(example.command))) << example.command;
    for (const std::string& operand : given.operands) {
      if (std::filesystem::path(operand).extension() != ".ini") continue;
      EXPECT_NO_THROW(load_sweep(RECITE_SOURCE_DIR "/" + operand, given.settings, {.workers = 4})) << example.command;
    }
    if (GetParam().name != "train") continue;
    EXPECT_NO_THROW(load_single_job(given.settings, {})) << example.command;
  }
}

TEST_P(EachVerb, RefusesAnUnknownOption) {
  const Ran tried = ran({GetParam().name, "--no-such-option"});
  EXPECT_EQ(tried.code, 2);
  EXPECT_THAT(tried.err, HasSubstr("recite " + GetParam().name + ": unknown option '--no"));
  EXPECT_EQ(tried.out, "");
}

TEST(OptionsOfVerbs, AreThoseThatTheyHeed) {
  for (const std::string option : {"--eval.every=2", "--eval.stop_at_accuracy=1", "--run.checkpoint_every=1 s"}) {
    const Ran tried = ran({"eval", option});
    EXPECT_EQ(tried.code, 2);
    EXPECT_THAT(tried.err, HasSubstr("recite eval: ")) << option;
    EXPECT_THAT(tried.err, HasSubstr(option.substr(0, option.find('=')))) << option;
  }
}

TEST(SweepFiles, OfTheProjectAreRight) {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(RECITE_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".ini") continue;
    ++files;
    EXPECT_NO_THROW(load_sweep(entry.path().string(), {}, {})) << entry.path();
  }
  EXPECT_GT(files, 0);
}

}  // namespace
}  // namespace recite
