#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/text.h"
#include "config/message.h"
#include "prompts/answer.h"
#include "prompts/files.h"
#include "prompts/prompt_source.h"
#include "prompts/score.h"
#include "prompts/word_codec.h"
#include "support/temporary_folder.h"

namespace recite {
namespace {

using testing::HasSubstr;

// Texts of three words, " t7a t7b t7c": where they are joined, the words stay apart.
std::string numbered_texts(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += fmt::format("{{\"text\": \" t{0}a t{0}b t{0}c\"}}\n", i);
  return lines;
}

class C4Copy : public testing::Test {
 protected:
  PromptSpec spec(const std::string& bytes, const std::string& name = "corpus.json") {
    return {.kind = TextTask::c4_copy, .corpus = write_file(folder_ / name, bytes), .seed = 5};
  }

  // The message with which a corpus, or a length of it, is refused.
  std::string refused(const PromptSpec& given, int length = 2) {
    return refusal([&] { make_prompt_source(given, codec_)->check(length); });
  }

  TemporaryFolder folder_;
  WordCodec codec_;
};

// TEXT of `TEXT\n\nTEXT\n\nFIRSTWORD`, once all is as it must be.
std::string checked_text(const Prompt& prompt, const TextCodec& codec) {
  const size_t end = prompt.text.find("\n\n");
  const std::string text = prompt.text.substr(0, end);
  const size_t space = text.find(' ');
  EXPECT_NE(space, std::string::npos);
  EXPECT_EQ(prompt.text, text + "\n\n" + text + "\n\n" + text.substr(0, space));
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_EQ(prompt.gold, std::vector{trim(text.substr(space))});
  EXPECT_EQ(prompt.tokens, codec.encode(prompt.text));
  EXPECT_EQ(prompt.max_new_tokens,
            static_cast<int64_t>(std::floor(0.5 * static_cast<double>(prompt.tokens.size()))) + 50);
  EXPECT_FALSE(prompt.suppress_end_first);
  return text;
}

// Where each text comes in TEXT, and that its words follow one another.
std::vector<int> texts_in(const std::string& text) {
  std::vector<int> texts;
  char expected = 0;
  for (const std::string& word : split(text, ' ')) {
    const int number = std::stoi(word.substr(1));
    const char part = word.back();
    if (texts.empty() || part == 'a') {
      EXPECT_TRUE(expected == 0 || expected == 'd') << text;
      texts.push_back(number);
    } else {
      EXPECT_EQ(part, expected) << text;
      EXPECT_EQ(number, texts.back()) << text;
    }
    expected = static_cast<char>(part + 1);
  }
  return texts;
}

TEST_F(C4Copy, CopiesAStretchOfTenDifferentTexts) {
  const auto source = make_prompt_source(spec(numbered_texts(30)), codec_);
  std::vector<int> drawn(30);
  int missing[3] = {};
  for (int index = 0; index < 600; ++index) {
    const std::string text = checked_text(source->prompt(28, index), codec_);
    const std::vector<std::string> words = split(text, ' ');
    ASSERT_EQ(words.size(), 28u);
    const std::vector<int> texts = texts_in(text);
    EXPECT_EQ(texts.size(), 10u);
    EXPECT_EQ(std::set<int>(texts.begin(), texts.end()).size(), 10u);
    for (const int number : texts) ++drawn[number];
    ++missing[words.front().back() - 'a'];
  }
  // Every text is in a third of the prompts, and a stretch of 28 of 30 tokens starts at each of its three places.
  for (const int count : drawn) EXPECT_NEAR(count, 200, 5 * std::sqrt(200 * 2.0 / 3));
  for (const int count : missing) EXPECT_NEAR(count, 200, 5 * std::sqrt(200 * 2.0 / 3));
}

TEST_F(C4Copy, OfALengthHasSoManyTokens) {
  const auto source = make_prompt_source(spec(numbered_texts(30)), codec_);
  for (const int length : {2, 3, 17, 29, 30}) {
    for (int index = 0; index < 20; ++index) {
      const std::string text = checked_text(source->prompt(length, index), codec_);
      EXPECT_EQ(split(text, ' ').size(), static_cast<size_t>(length));
      texts_in(text);
    }
  }
  EXPECT_EQ(source->available(17), unlimited_prompts);
  EXPECT_TRUE(source->bins().empty());
}

TEST_F(C4Copy, JoinsMoreTextsWhereTenAreTooShort) {
  const auto source = make_prompt_source(spec(numbered_texts(25)), codec_);
  for (const int length : {31, 60, 61, 75}) {
    const std::vector<int> texts = texts_in(checked_text(source->prompt(length, 0), codec_));
    EXPECT_EQ(std::set<int>(texts.begin(), texts.end()).size(), texts.size());
    EXPECT_GE(static_cast<int>(texts.size()) * 3, length);
  }
  EXPECT_EQ(refusal([&] { source->prompt(76, 3); }),
            folder_ / "corpus.json" +
                ": its 25 texts have 75 tokens, fewer than the 76 to copy: choose shorter lengths, or a larger corpus");
  EXPECT_THAT(refusal([&] { source->check(76); }), HasSubstr("fewer than the 76 to copy"));
}

TEST_F(C4Copy, TextOrderRandomShufflesTheSameTokens) {
  PromptSpec given = spec(numbered_texts(30));
  const auto standard = make_prompt_source(given, codec_);
  given.text_order = TextOrder::random;
  const auto shuffled = make_prompt_source(given, codec_);
  int front_stays = 0;
  for (int index = 0; index < 400; ++index) {
    const std::vector<std::string> words = split(checked_text(standard->prompt(8, index), codec_), ' ');
    std::vector<std::string> mixed = split(checked_text(shuffled->prompt(8, index), codec_), ' ');
    front_stays += words.front() == mixed.front();
    EXPECT_TRUE(std::is_permutation(words.begin(), words.end(), mixed.begin(), mixed.end()));
  }
  EXPECT_NEAR(front_stays, 50, 5 * std::sqrt(50));
}

TEST_F(C4Copy, JoinsTextsWithNothingBetween) {
  std::string lines;
  for (int i = 0; i < 10; ++i) lines += fmt::format("{{\"text\": \"<{0} {0}>\"}}\n", i);
  const auto source = make_prompt_source(spec(lines), codec_);
  for (const std::string& word : split(checked_text(source->prompt(11, 0), codec_), ' ')) {
    EXPECT_TRUE(word.size() == 2 || (word.size() == 4 && word[1] == '>' && word[2] == '<')) << word;
  }
}

TEST_F(C4Copy, TakesNewlinesForSpacesAndStripsTheText) {
  std::string lines;
  for (int i = 0; i < 10; ++i) lines += "{\"text\": \"\\n\\na\\n\\nb \\n\"}\n";
  const auto source = make_prompt_source(spec(lines), codec_);
  const Prompt prompt = source->prompt(80, 0);  // all of it
  const std::string text = checked_text(prompt, codec_);
  EXPECT_TRUE(text.starts_with("a  b    a  b"));
  EXPECT_TRUE(text.ends_with("a  b"));
  EXPECT_TRUE(prompt.gold[0].starts_with("b    a"));
}

TEST_F(C4Copy, CleansTheTextUpOnRequest) {
  std::string lines;
  for (int i = 0; i < 10; ++i) lines += "{\"text\": \" It 's one , two .\"}\n";
  PromptSpec given = spec(lines);
  EXPECT_TRUE(
      checked_text(make_prompt_source(given, codec_)->prompt(60, 0), codec_).starts_with("It 's one , two . It"));
  given.decode_cleanup = DecodeCleanup::published;
  EXPECT_TRUE(
      checked_text(make_prompt_source(given, codec_)->prompt(60, 0), codec_).starts_with("It's one, two. It's"));
}

TEST_F(C4Copy, APerfectContinuationIsRight) {
  std::string lines;
  for (int i = 0; i < 40; ++i)
    lines += fmt::format("{{\"text\": \"Text {0} ,\\n  with  spaces .\\n\\nEnd of {0}\\u00a0\"}}\n", i);
  PromptSpec given = spec(lines);
  for (const TextOrder order : {TextOrder::standard, TextOrder::random}) {
    for (const DecodeCleanup cleanup : {DecodeCleanup::none, DecodeCleanup::published}) {
      given.text_order = order;
      given.decode_cleanup = cleanup;
      const auto source = make_prompt_source(given, codec_);
      int kept = 0;
      for (int index = 0; index < 100; ++index) {
        const Prompt prompt = source->prompt(20, index);
        const std::string text = checked_text(prompt, codec_);
        const std::string continuation = text.substr(text.find(' ')) + "\n\nText";
        // The published decoder may change a text that it has cleaned up once more.
        const bool survives = cleaned_up(cleanup, continuation) == continuation;
        kept += survives;
        const double right = score(given, answer_of(given, continuation), prompt.gold).exact_match;
        EXPECT_TRUE(right == 1 || !survives) << prompt.text;
        EXPECT_EQ(score(given, answer_of(given, "x" + continuation), prompt.gold).exact_match, 0);
      }
      EXPECT_GE(kept, cleanup == DecodeCleanup::none ? 100 : 10);
    }
  }
}

TEST_F(C4Copy, DependsOnSeedLengthAndIndexAlone) {
  PromptSpec given = spec(numbered_texts(500));
  const auto source = make_prompt_source(given, codec_);
  const auto again = make_prompt_source(given, codec_);
  std::set<std::string> texts;
  for (int index = 9; index >= 0; --index) again->prompt(20, index);
  for (int index = 0; index < 10; ++index) {
    EXPECT_EQ(source->prompt(20, index).text, again->prompt(20, index).text);
    texts.insert(source->prompt(20, index).text);
    texts.insert(source->prompt(21, index).text);
  }
  given.seed = 6;
  const auto other = make_prompt_source(given, codec_);
  for (int index = 0; index < 10; ++index) texts.insert(other->prompt(20, index).text);
  EXPECT_EQ(texts.size(), 30u);
}

TEST_F(C4Copy, RefusesWhatCannotBeCopied) {
  EXPECT_EQ(
      refused({.kind = TextTask::c4_copy}),
      "c4_copy needs texts to copy: set c4_corpus to a file, a folder or a pattern, such as C4's c4-train.*.json.gz");
  EXPECT_EQ(refused(spec(numbered_texts(9))), folder_ / "corpus.json" +
                                                  ": has 9 texts, c4_copy needs 10 or more (of plain text, paragraphs "
                                                  "parted by blank lines): change c4_corpus");
  EXPECT_THAT(refused(spec("one\nparagraph", "a.txt")), HasSubstr("a.txt: has 1 text, c4_copy needs 10"));
  EXPECT_EQ(refused(spec(numbered_texts(10)), 0), "c4_copy copies texts of 1 token or more, not 0: change lengths");
  EXPECT_EQ(refused(spec(numbered_texts(10)), -3), "c4_copy copies texts of 1 token or more, not -3: change lengths");
  EXPECT_EQ(refused(spec(numbered_texts(10)), 1),
            folder_ / "corpus.json" +
                ": 11 random pieces of 1 tokens had no second word: choose longer lengths, or another corpus");
  EXPECT_EQ(refused(spec(numbered_texts(10)), 30), "taken");
  EXPECT_THAT(refused({.kind = TextTask::c4_copy, .corpus = folder_ / "none.json.gz"}),
              HasSubstr("none.json.gz: cannot be opened"));
}

}  // namespace
}  // namespace recite
