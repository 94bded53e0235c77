#include "tasks/ngrams.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/tasks/parsed_example.h"

namespace recite {
namespace {

std::vector<Token> tokens(std::string_view text) {
  std::vector<Token> result;
  for (const char c : text) result.push_back(static_cast<Token>(c - 'a'));
  return result;
}

std::string text(Letters letters) { return Alphabet(26).text(letters); }

TEST(UniqueStarts, CountOverlapsAndTheWholeString) {
  // "aa" occurs at 0 and 1; "ab" once; the last "c" makes the first one ambiguous although it is past last_start.
  EXPECT_EQ(unique_starts(tokens("aaab"), 2, 2), (std::vector<int>{2}));
  EXPECT_EQ(unique_starts(tokens("cabc"), 1, 2), (std::vector<int>{1, 2}));
  EXPECT_EQ(unique_starts(tokens("abab"), 2, 0), (std::vector<int>{}));
  EXPECT_EQ(unique_starts(tokens("a"), 1, 0), (std::vector<int>{0}));
}

TEST(UniqueStarts, AgreeWithCountingForRandomStrings) {
  PhiloxStream random(Purpose::sample, 0, {});
  for (int trial = 0; trial < 4000; ++trial) {
    const int letters = std::array{1, 2, 3, 26}[random.below(4)];
    const int length = 1 + static_cast<int>(random.below(40));
    const int n = 1 + static_cast<int>(random.below(length));
    std::vector<Token> string(length);
    for (Token& letter : string) letter = static_cast<Token>(random.below(letters));
    const int last_start = static_cast<int>(random.below(length - n + 1));
    ASSERT_EQ(unique_starts(string, n, last_start), slow_unique_starts(text(string), n, last_start))
        << text(string) << " n " << n << " last_start " << last_start;
  }
}

// n-grams that differ in one letter only, at each place: the first 12 letters are compared in another way than the
// rest.
TEST(UniqueStarts, SeeADifferenceAtAnyPlaceOfALongNgram) {
  constexpr int n = 30;
  for (int place = 0; place < n; ++place) {
    std::string twice = std::string(n, 'z') + "y" + std::string(n, 'z');
    EXPECT_EQ(unique_starts(tokens(twice), n, 0), (std::vector<int>{}));
    twice[n + 1 + place] = 'a';
    EXPECT_EQ(unique_starts(tokens(twice), n, 0), (std::vector<int>{0})) << place;
  }
}

TEST(FirstOccurrence, IsTheLeftmost) {
  EXPECT_EQ(first_occurrence(tokens("abcabc"), tokens("bc")), 1);
  EXPECT_EQ(first_occurrence(tokens("aaa"), tokens("aa")), 0);
  EXPECT_EQ(first_occurrence(tokens("abc"), tokens("c")), 2);
}

TEST(ReplaceNgram, ReplacesEveryNonOverlappingOccurrenceLeftToRight) {
  const auto replace = [](std::string_view string, std::string_view from, std::string_view to) {
    std::vector<Token> letters = tokens(string);
    replace_ngram(letters, tokens(from), tokens(to));
    return text(letters);
  };
  EXPECT_EQ(replace("abcab", "ab", "xy"), "xycxy");
  EXPECT_EQ(replace("aaaaa", "aa", "ba"), "babaa");
  EXPECT_EQ(replace("abab", "b", "a"), "aaaa");
  // What a replacement makes together with what follows is no occurrence: "ba" + "a" is left alone.
  EXPECT_EQ(replace("aab", "aa", "ba"), "bab");
  EXPECT_EQ(replace("abc", "abc", "cba"), "cba");
  EXPECT_EQ(replace("abc", "d", "e"), "abc");
}

TEST(DrawDifferentNgrams, DrawsTheFirstByStartAndTheSecondAmongTheOthers) {
  // In "aab", n = 1: first is a (2/3) or b (1/3), the second then the other letter.
  PhiloxStream random(Purpose::sample, 1, {});
  std::map<std::string, int> counts;
  constexpr int draws = 6000;
  for (int i = 0; i < draws; ++i) {
    const auto pair = draw_different_ngrams(tokens("aab"), 1, random);
    ASSERT_TRUE(pair);
    ++counts[text(pair->first) + text(pair->second)];
  }
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_NEAR(counts["ab"], draws * 2 / 3, 200);
  EXPECT_NEAR(counts["ba"], draws / 3, 200);
}

TEST(DrawDifferentNgrams, GivesNothingForAStringOfOneNgram) {
  PhiloxStream random(Purpose::sample, 2, {});
  EXPECT_FALSE(draw_different_ngrams(tokens("aaaa"), 2, random));
  EXPECT_FALSE(draw_different_ngrams(tokens("abc"), 3, random));
  EXPECT_TRUE(draw_different_ngrams(tokens("aba"), 2, random));
}

}  // namespace
}  // namespace recite
