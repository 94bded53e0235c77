#include "prompts/answer.h"

#include <gtest/gtest.h>

namespace recite {
namespace {

const PromptSpec c4_copy{.kind = TextTask::c4_copy};
const PromptSpec phone_book{.kind = TextTask::phone_book};
const PromptSpec squad{.kind = TextTask::squad};

TEST(Answer, OfC4CopyEndsAtTheFirstBlankLine) {
  EXPECT_EQ(answer_of(c4_copy, " the rest\nof it \n\nmore\n\nmore"), "the rest of it");
  EXPECT_EQ(answer_of(c4_copy, " no blank line\n \nhere\n"), "no blank line   here");
  EXPECT_EQ(answer_of(c4_copy, "\n\nall after"), "");
  EXPECT_EQ(answer_of(c4_copy, ""), "");
  EXPECT_EQ(answer_of(c4_copy, "rest<|endoftext|>"), "rest<|endoftext|>");
  EXPECT_EQ(answer_of(c4_copy, "rest\n\n<|endoftext|>"), "rest");
}

TEST(Answer, OfPhoneBookIsTheFirstLine) {
  EXPECT_EQ(answer_of(phone_book, " 9123456789\n\nMary Smith: 1"), "9123456789");
  EXPECT_EQ(answer_of(phone_book, " 9123456789"), "9123456789");
  EXPECT_EQ(answer_of(phone_book, "\n9123456789"), "");
  EXPECT_EQ(answer_of(phone_book, " 9123456789<|endoftext|>"), "9123456789<|endoftext|>");
}

TEST(Answer, OfSquadEndsAtTheFirstBlankLineOrEndOfText) {
  EXPECT_EQ(answer_of(squad, "in 1066\nor so\n\nQuestion: x"), "in 1066\nor so");
  EXPECT_EQ(answer_of(squad, " in 1066 <|endoftext|>\n\nQuestion"), "in 1066");
  EXPECT_EQ(answer_of(squad, "in 1066\n\n<|endoftext|>"), "in 1066");
  EXPECT_EQ(answer_of(squad, "<|endoftext|>"), "");
}

TEST(Answer, IsStrippedOfAllThatPythonStrips) {
  for (const char* space : {" ", "\t", "\v", "\f", "\r", "\x1c", "\x1f", "\u0085", "\u00a0", "\u1680", "\u2000",
                            "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"}) {
    EXPECT_EQ(answer_of(squad, std::string(space) + "a" + space + "b" + space), std::string("a") + space + "b");
  }
  for (const char* none : {"\u200b", "\u2060", "\ufeff", "\x1b", "\u180e"}) {
    const std::string kept = std::string(none) + "a" + none;
    EXPECT_EQ(answer_of(squad, kept), kept);
  }
}

TEST(Answer, KeepsBytesThatAreNoTextApart) { EXPECT_EQ(answer_of(squad, " \xff\xc3 "), "\ufffd\ufffd"); }

TEST(Answer, IsCleanedUpOnRequest) {
  const std::string text = " It 's fine , is n't it ? Yes ! They 're , I 'm , we 've . Rock ' n ' roll";
  PromptSpec spec = squad;
  EXPECT_EQ(answer_of(spec, text), text.substr(1));
  spec.decode_cleanup = DecodeCleanup::published;
  EXPECT_EQ(answer_of(spec, text), "It's fine, isn't it? Yes! They're, I'm, we've. Rock'n'roll");
  EXPECT_EQ(cleaned_up(DecodeCleanup::published, "a  . b  ' c '  d"), "a . b 'c' d");
  EXPECT_EQ(cleaned_up(DecodeCleanup::none, "a ."), "a .");
}

TEST(IsFinished, OnceTheCutOrEndOfTextIsThere) {
  for (const PromptSpec& spec : {c4_copy, squad}) {
    EXPECT_FALSE(is_finished(spec, "one\nline\n "));
    EXPECT_TRUE(is_finished(spec, "one\n\n"));
    EXPECT_TRUE(is_finished(spec, "one<|endoftext|>"));
    EXPECT_FALSE(is_finished(spec, ""));
  }
  EXPECT_FALSE(is_finished(phone_book, " 912"));
  EXPECT_TRUE(is_finished(phone_book, " 912\n"));
  EXPECT_TRUE(is_finished(phone_book, "<|endoftext|>"));
}

// Whatever comes after the text that is finished, squad's answer is the same, and the others' is the same or wrong.
TEST(IsFinished, MeansThatMoreTextDoesNotCount) {
  for (const PromptSpec& spec : {c4_copy, phone_book, squad}) {
    for (const std::string text : {"a b\n\n", "\n\n", "a\nb\n\n", "a. \n\n"}) {
      ASSERT_TRUE(is_finished(spec, text));
      for (const std::string more : {"\n", " c", "<|endoftext|>", "\n\nd"})
        EXPECT_EQ(answer_of(spec, text + more), answer_of(spec, text));
    }
    const std::string ended = "a b<|endoftext|>";
    ASSERT_TRUE(is_finished(spec, ended));
    for (const std::string more : {"", "\n", " c", "\n\nd"}) {
      EXPECT_EQ(answer_of(spec, ended + more) == "a b", spec.kind == TextTask::squad) << more;
    }
  }
}

}  // namespace
}  // namespace recite
