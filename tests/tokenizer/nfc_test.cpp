#include "tokenizer/nfc.h"

#include <gtest/gtest.h>

namespace recite {
namespace {

TEST(Nfc, Composes) {
  EXPECT_EQ(nfc(""), "");
  EXPECT_EQ(nfc("e\u0301a e\u0301"), "\u00E9a \u00E9");
  EXPECT_EQ(nfc("\u1112\u1161\u11AB"), "\uD55C");
  EXPECT_EQ(nfc("\u0301e"), "\u0301e");
}

TEST(Nfc, OrdersMarksBeforeItComposes) {
  EXPECT_EQ(nfc("a\u0301\u0327"), "\u00E1\u0327");
  EXPECT_EQ(nfc("o\u0304\u0328"), "\u01ED");
  EXPECT_EQ(nfc("\u0301\u0334"), "\u0334\u0301");
}

TEST(Nfc, TakesSingletonsAndExcludedCompositesApart) {
  EXPECT_EQ(nfc("\u212B\u2126"), "\u00C5\u03A9");
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093C");
  EXPECT_EQ(nfc("\uF900"), "\u8C48");
}

TEST(Nfc, LeavesWhatCameAfterUnicode9) {
  EXPECT_EQ(nfc("a\u0301\u1DF9\u0327"), "\u00E1\u1DF9\u0327");  // a mark of Unicode 10, and what follows it
  EXPECT_EQ(nfc("\u1DF9\u0301\u0334"), "\u1DF9\u0334\u0301");
  EXPECT_EQ(nfc("\U00011935\U00011930"), "\U00011935\U00011930");  // U+11938 is of Unicode 13
}

TEST(Nfc, KnowsTextThatStaysAsItIs) {
  EXPECT_TRUE(surely_nfc("Latin caf\u00E9, \u4E2D\u6587, \U0001F600"));
  EXPECT_FALSE(surely_nfc("12345678e\u0301"));
  EXPECT_FALSE(surely_nfc("\u212B"));
}

}  // namespace
}  // namespace recite
