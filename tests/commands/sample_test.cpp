#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "commands/commands.h"

namespace recite {
namespace {

// The lines that the verb prints; each string's marks follow it.
std::vector<std::string> printed(const std::string& arguments) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(sample_command(split(arguments, ' ')), 0);
  const std::string text = testing::internal::GetCapturedStdout();
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

TEST(Sample, MarksStandUnderTheAnswerAndTheEndMark) {
  for (const std::string task :
       {"copy", "prefix_ngram --n_gram 2", "suffix_ngram --n_gram 2 --ngram_key any", "duplicate_ngram --n_gram 3"}) {
    const std::vector<std::string> lines = printed("--task " + task + " --length 12 --count 4 --length_answer 3");
    ASSERT_EQ(lines.size(), 8u) << task;
    for (size_t i = 0; i < lines.size(); i += 2) {
      EXPECT_EQ(lines[i].back(), '.');
      EXPECT_EQ(lines[i + 1], std::string(lines[i].size() - 4, ' ') + "^^^^") << lines[i];
    }
  }
}

TEST(Sample, PackedRowsAreMarkedInEachExampleButTheCutOne) {
  const std::vector<std::string> lines =
      printed("--packed --min_length 3 --max_length 3 --context_length 22 --count 2");
  ASSERT_EQ(lines.size(), 4u);
  for (size_t i = 0; i < lines.size(); i += 2) {
    EXPECT_EQ(lines[i].size(), 22u);
    EXPECT_EQ(lines[i + 1], "     ^^^^     ^^^^");
  }
}

TEST(Sample, LongLinesAreBrokenWithTheirMarks) {
  const std::vector<std::string> whole = printed("--length 30 --count 1 --width 0");
  const std::vector<std::string> broken = printed("--length 30 --count 1 --width 40");
  ASSERT_EQ(whole.size(), 2u);
  ASSERT_EQ(broken.size(), 4u);
  EXPECT_EQ(broken[0] + broken[2], whole[0]);
  EXPECT_EQ(broken[1] + broken[3], whole[1]);
}

TEST(Sample, TheSeedNamesTheStrings) {
  EXPECT_EQ(printed("--seed 4"), printed("--seed 4"));
  EXPECT_NE(printed("--seed 4"), printed("--seed 5"));
}

TEST(Sample, RefusesWhatCannotBeDone) {
  const std::vector<std::string> wrong = {
      "--lenght 3",
      "--task kopy",
      "--task prefix_ngram",
      "--task prefix_ngram --n_gram 19 --length_answer 5",
      "--packed --length 3",
      "--min_length 4",
      "--packed --max_length 200",
      "--packed --min_length 9 --max_length 7",
      "--packed --task duplicate_ngram --n_gram 2",
      "--packed --task suffix_ngram --n_gram 5 --min_length 5",
      "--vocab_size 27",
      "--count 0",
      "surplus",
  };
  for (const std::string& arguments : wrong) {
    EXPECT_THROW(sample_command(split(arguments, ' ')), UsageError) << arguments;
  }
}

TEST(Sample, AWrongNameComesWithTheNearestOne) {
  try {
    sample_command({"--task", "sufix_ngram"});
    ADD_FAILURE();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("did you mean 'suffix_ngram'?"));
  }
}

}  // namespace
}  // namespace recite
