#include "tasks/alphabet.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"

namespace recite {
namespace {

TEST(Alphabet, HasTheLettersThenTheFourMarks) {
  for (int letters = 1; letters <= 26; ++letters) {
    const Alphabet alphabet(letters);
    EXPECT_EQ(alphabet.letters(), letters);
    EXPECT_EQ(alphabet.size(), letters + 4);
    EXPECT_EQ(alphabet.begin(), letters);
    EXPECT_EQ(alphabet.separator(), letters + 1);
    EXPECT_EQ(alphabet.end(), letters + 2);
    EXPECT_EQ(alphabet.padding(), letters + 3);
  }
}

TEST(Alphabet, WritesTokensAsText) {
  const std::vector<Token> tokens = {26, 0, 25, 27, 0, 25, 28, 29, 30};
  EXPECT_EQ(Alphabet(26).text(tokens), "$az|az.*?");
  EXPECT_EQ(Alphabet(2).text(std::vector<Token>{2, 1, 0, 3, 4, 5}), "$ba|.*");
  EXPECT_EQ(Alphabet(2).text({}), "");
}

TEST(Alphabet, RefusesOtherSizesAndNamesTheOption) {
  for (const int letters : {-1, 0, 27}) {
    try {
      Alphabet{letters};
      ADD_FAILURE() << letters;
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find("vocab_size is " + std::to_string(letters)), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace recite
