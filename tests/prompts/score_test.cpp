#include "prompts/score.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace recite {
namespace {

// Against an independent implementation on thousands of pairs: peers_test.py.

constexpr SquadNormalisation published = SquadNormalisation::published;
constexpr SquadNormalisation official = SquadNormalisation::official;

TEST(Normalised, PunctuationBecomesASpaceOrGoes) {
  EXPECT_EQ(normalised(published, "  The U.S.A.'s  (two-part)\tnames_here "), "u s s two part names here");
  EXPECT_EQ(normalised(official, "  The U.S.A.'s  (two-part)\tnames_here "), "usas twopart nameshere");
  EXPECT_EQ(normalised(published, "\u2018x\u2019 \u00b4y`z \u201cw\u201d"), "x y z \u201cw\u201d");
  EXPECT_EQ(normalised(official, "\u2018x\u2019 \u00b4y`z \u201cw\u201d"), "\u2018x\u2019 \u00b4yz \u201cw\u201d");
}

TEST(Normalised, ArticlesAreWholeWords) {
  for (const SquadNormalisation rule : {published, official}) {
    EXPECT_EQ(normalised(rule, "A cat, an owl AND the theme of Ana"), "cat owl and theme of ana");
    EXPECT_EQ(normalised(rule, "the\u2014a\u00e9 \u201can\u201d"), "\u2014a\u00e9 \u201c \u201d");
    EXPECT_EQ(normalised(rule, "a the an"), "");
    EXPECT_EQ(normalised(rule, "\u0130 \u00c9"), "i\u0307 \u00e9");
  }
  EXPECT_EQ(normalised(published, "a.b the-x"), "b x");
  EXPECT_EQ(normalised(official, "a.b the-x"), "ab thex");
}

TEST(Score, OfSquadIsTheBestOverTheGoldAnswers) {
  const PromptSpec spec{.kind = TextTask::squad};
  const Score whole = score(spec, "The 10th century.", {"11th century", "10th century"});
  EXPECT_EQ(whole.exact_match, 1);
  EXPECT_EQ(whole.f1, 1);
  const Score part = score(spec, "in the 10th and 11th centuries", {"the 11th century", "10th and 11th centuries"});
  EXPECT_EQ(part.exact_match, 0);
  EXPECT_DOUBLE_EQ(part.f1, 2 * (4.0 / 5) / (4.0 / 5 + 1));
  // A word counts as often as it comes in both.
  EXPECT_DOUBLE_EQ(score(spec, "b b b", {"b b c"}).f1, 2.0 / 3);
  EXPECT_EQ(score(spec, "x", {"y"}).f1, 0);
  const Score nothing = score(spec, "the", {"a"});
  EXPECT_EQ(nothing.exact_match, 1);
  EXPECT_EQ(nothing.f1, 0);
}

TEST(Score, OfCopiesAndPhoneBooksIsEqualityToTheLetter) {
  for (const TextTask kind : {TextTask::c4_copy, TextTask::phone_book}) {
    const PromptSpec spec{.kind = kind};
    EXPECT_EQ(score(spec, "912", {"912"}).exact_match, 1);
    EXPECT_EQ(score(spec, "The 912", {"912"}).exact_match, 0);
    EXPECT_EQ(score(spec, "a", {"A"}).exact_match, 0);
    EXPECT_TRUE(std::isnan(score(spec, "912", {"912"}).f1));
  }
}

TEST(Score, NeedsAGoldAnswer) { EXPECT_THROW(score(PromptSpec{}, "x", {}), Error); }

}  // namespace
}  // namespace recite
