#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "base/philox.h"
#include "config/message.h"
#include "prompts/answer.h"
#include "prompts/census.h"
#include "prompts/prompt_source.h"
#include "prompts/score.h"
#include "prompts/word_codec.h"

namespace recite {
namespace {

struct Book {
  std::vector<std::string> names;  // of the lines, in order
  std::map<std::string, std::string> numbers;
  std::array<std::string, 2> shown;  // lines
  std::string asked;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back() += c;
    }
  }
  return lines;
}

bool is_in(char c, char first, char last) { return c >= first && c <= last; }

// `Xxx Xxx`
bool is_full_name(const std::string& name) {
  const size_t space = name.find(' ');
  if (space == std::string::npos) return false;
  const auto is_word = [](const std::string& word) {
    return word.size() > 1 && is_in(word[0], 'A', 'Z') &&
           std::all_of(word.begin() + 1, word.end(), [](char c) { return is_in(c, 'a', 'z'); });
  };
  return is_word(name.substr(0, space)) && is_word(name.substr(space + 1));
}

bool is_number(const std::string& text) {
  return text.size() == 10 && is_in(text[0], '6', '9') &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_in(c, '0', '9'); });
}

// Reads a prompt by its grammar; fails the test where it is another.
Book parsed(const std::string& text, int length) {
  const std::vector<std::string> lines = lines_of(text);
  Book book;
  EXPECT_EQ(lines.size(), static_cast<size_t>(length) + 5);
  for (int i = 0; i < length; ++i) {
    const size_t colon = lines[i].find(": ");
    const std::string name = lines[i].substr(0, colon);
    const std::string number = colon == std::string::npos ? "" : lines[i].substr(colon + 2);
    EXPECT_TRUE(is_full_name(name) && is_number(number)) << lines[i];
    book.names.push_back(name);
    book.numbers[name] = number;
  }
  EXPECT_EQ(lines[length], "");
  book.shown = {lines[length + 1], lines[length + 2]};
  EXPECT_EQ(lines[length + 3], "");
  const std::string& question = lines[length + 4];
  EXPECT_TRUE(question.ends_with(':') && is_full_name(question.substr(0, question.size() - 1))) << question;
  book.asked = question.substr(0, question.size() - 1);
  return book;
}

class PhoneBook : public testing::Test {
 protected:
  const PromptSpec spec_{.kind = TextTask::phone_book, .seed = 3};
  const WordCodec codec_;
  const std::unique_ptr<PromptSource> source_ = make_prompt_source(spec_, codec_);
};

TEST_F(PhoneBook, HasItsGrammar) {
  for (const int length : {3, 4, 20, 151}) {
    for (int index = 0; index < 50; ++index) {
      const Prompt prompt = source_->prompt(length, index);
      const Book book = parsed(prompt.text, length);
      EXPECT_EQ(book.numbers.size(), static_cast<size_t>(length));
      std::set<std::string> used = {book.asked};
      for (const std::string& line : book.shown) {
        const std::string name = line.substr(0, line.find(':'));
        EXPECT_EQ(line, name + ": " + book.numbers.at(name));
        used.insert(name);
      }
      EXPECT_EQ(used.size(), 3u);
      EXPECT_EQ(prompt.gold, std::vector{book.numbers.at(book.asked)});
      EXPECT_EQ(prompt.tokens, codec_.encode(prompt.text));
      EXPECT_EQ(prompt.max_new_tokens, 50);
      EXPECT_FALSE(prompt.suppress_end_first);
      EXPECT_EQ(score(spec_, answer_of(spec_, " " + prompt.gold[0] + "\n\nMary"), prompt.gold).exact_match, 1);
    }
  }
  EXPECT_EQ(source_->available(20), unlimited_prompts);
  EXPECT_TRUE(source_->bins().empty());
}

TEST_F(PhoneBook, NamesAreDistinct) {
  constexpr int length = 8000;
  EXPECT_EQ(parsed(source_->prompt(length, 0).text, length).numbers.size(), static_cast<size_t>(length));
  // So many names drawn freely are not.
  PhiloxStream random(Purpose::sample, 1, {});
  std::set<std::string> names;
  for (int i = 0; i < length; ++i) names.insert(draw_full_name(random));
  EXPECT_LT(names.size(), static_cast<size_t>(length));
}

TEST_F(PhoneBook, EveryEntryMayBeAskedOrShown) {
  std::array<int, 4> asked{}, first{}, second{};
  constexpr int prompts = 2000;
  for (int index = 0; index < prompts; ++index) {
    const Book book = parsed(source_->prompt(4, index).text, 4);
    for (size_t i = 0; i < 4; ++i) {
      const std::string line = book.names[i] + ": " + book.numbers.at(book.names[i]);
      asked[i] += book.asked == book.names[i];
      first[i] += book.shown[0] == line;
      second[i] += book.shown[1] == line;
    }
  }
  for (const auto& counts : {asked, first, second}) {
    for (const int count : counts) EXPECT_NEAR(count, prompts / 4, 5 * std::sqrt(prompts * 3.0 / 16));
  }
}

TEST_F(PhoneBook, DigitsAreUniform) {
  constexpr int length = 8000;
  std::map<char, int> first, others;
  for (const auto& [name, number] : parsed(source_->prompt(length, 1).text, length).numbers) {
    ++first[number[0]];
    for (const char digit : number.substr(1)) ++others[digit];
  }
  EXPECT_EQ(first.size(), 4u);
  EXPECT_EQ(others.size(), 10u);
  for (const auto& [digit, count] : first) EXPECT_NEAR(count, length / 4, 5 * std::sqrt(length * 3.0 / 16)) << digit;
  for (const auto& [digit, count] : others) EXPECT_NEAR(count, length * 0.9, 5 * std::sqrt(length * 0.81)) << digit;
}

TEST_F(PhoneBook, DependsOnSeedLengthAndIndexAlone) {
  const WordCodec other_codec;
  PromptSpec spec = spec_;
  spec.corpus = "not read";
  const auto again = make_prompt_source(spec, other_codec);
  spec.seed = 4;
  const auto other = make_prompt_source(spec, codec_);
  std::set<std::string> first_lines;
  for (int index = 9; index >= 0; --index) {
    EXPECT_EQ(source_->prompt(20, index).text, again->prompt(20, index).text);
    for (const std::string& text :
         {source_->prompt(20, index).text, source_->prompt(21, index).text, other->prompt(20, index).text})
      first_lines.insert(text.substr(0, text.find('\n')));
  }
  EXPECT_EQ(first_lines.size(), 30u);
}

TEST_F(PhoneBook, NeedsThreeEntries) {
  for (const int length : {-1, 0, 2}) {
    const std::string expected = "phone_book needs 3 entries or more, not " + std::to_string(length) +
                                 ": two are shown again, a third is asked: change lengths";
    EXPECT_EQ(refusal([&] { source_->check(length); }), expected);
    EXPECT_EQ(refusal([&] { source_->prompt(length, 0); }), expected);
  }
  EXPECT_EQ(refusal([&] { source_->check(3); }), "taken");
}

}  // namespace
}  // namespace recite
