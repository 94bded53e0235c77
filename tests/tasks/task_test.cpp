#include "tasks/task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "base/error.h"
#include "tests/tasks/parsed_example.h"

namespace recite {
namespace {

TaskSpec spec(TaskKind kind, int n_gram = 0, int length_answer = 0, int vocab_size = 26,
              NgramKey key = NgramKey::unique) {
  return {.kind = kind, .vocab_size = vocab_size, .n_gram = n_gram, .length_answer = length_answer, .ngram_key = key};
}

PhiloxStream stream(uint64_t index) { return {Purpose::sample, 0, {index}}; }

std::string drawn_text(const Task& task, int length, uint64_t index) {
  PhiloxStream random = stream(index);
  return task.alphabet().text(task.draw(length, random).tokens);
}

ParsedExample drawn(const Task& task, int length, uint64_t index) {
  const std::string text = drawn_text(task, length, index);
  const auto example = parse_example(task.spec(), text);
  EXPECT_TRUE(example) << text;
  return example.value_or(ParsedExample{});
}

// What the answer of a look-up is by the paper: the continuation of the key in the string.
std::string expected_answer(const TaskSpec& task, const ParsedExample& example) {
  std::string answer = example.string;
  if (is_lookup(task.kind)) answer = answer.substr(answer.find(example.key) + task.n_gram);
  return task.length_answer > 0 ? answer.substr(0, task.length_answer) : answer;
}

struct Case {
  TaskSpec spec;
  int length;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const TaskKind kind :
       {TaskKind::copy, TaskKind::prefix_ngram, TaskKind::suffix_ngram, TaskKind::duplicate_ngram}) {
    for (const int n : {1, 2, 5, 14}) {
      for (const int length_answer : {0, 1, 4}) {
        for (const NgramKey key : {NgramKey::unique, NgramKey::any}) {
          for (const int letters : {10, 26}) {
            const TaskSpec task = spec(kind, n, length_answer, letters, key);
            for (const int more : {0, 1, 15}) all.push_back({task, min_length(task) + more});
          }
        }
      }
    }
  }
  return all;
}

class DrawnExample : public testing::TestWithParam<Case> {};

TEST_P(DrawnExample, HasTheFormAndTheAnswerOfThePaper) {
  const auto& [task_spec, length] = GetParam();
  const Task task(task_spec);
  for (uint64_t index = 0; index < 20; ++index) {
    PhiloxStream random = stream(index);
    const TaskExample example = task.draw(length, random);
    const std::string text = task.alphabet().text(example.tokens);
    const auto parsed = parse_example(task_spec, text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->string.size(), static_cast<size_t>(length)) << text;
    EXPECT_EQ(parsed->key.size(), is_lookup(task_spec.kind) ? static_cast<size_t>(task_spec.n_gram) : 0) << text;
    EXPECT_EQ(parsed->answer, expected_answer(task_spec, *parsed)) << text;
    EXPECT_FALSE(parsed->answer.empty()) << text;
    EXPECT_EQ(example.answer_begin, static_cast<int>(parsed->answer_begin)) << text;
    EXPECT_EQ(example.answer_length, static_cast<int>(parsed->answer.size())) << text;
    EXPECT_LE(example.length(), task.max_tokens(length)) << text;
    if (is_lookup(task_spec.kind)) {
      EXPECT_TRUE(task_spec.length_answer == 0 || example.answer_length == task_spec.length_answer) << text;
      EXPECT_TRUE(task_spec.ngram_key == NgramKey::any || occurrences(parsed->string, parsed->key) == 1) << text;
    }
  }
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  const TaskSpec& task = info.param.spec;
  return std::string(name_of(task.kind)) + "_n" + std::to_string(task.n_gram) + "_a" +
         std::to_string(task.length_answer) + "_v" + std::to_string(task.vocab_size) + "_" +
         std::string(name_of(task.ngram_key)) + "_L" + std::to_string(info.param.length);
}

INSTANTIATE_TEST_SUITE_P(Tasks, DrawnExample, testing::ValuesIn(cases()), case_name);

TEST(Task, AppendsBehindWhatIsThere) {
  const Task task(spec(TaskKind::suffix_ngram, 2));
  std::vector<Token> tokens = {1, 2, 3};
  PhiloxStream random = stream(5);
  const Answer answer = task.append(12, random, tokens);
  PhiloxStream again = stream(5);
  const TaskExample example = task.draw(12, again);
  EXPECT_EQ(std::vector<Token>(tokens.begin(), tokens.begin() + 3), (std::vector<Token>{1, 2, 3}));
  EXPECT_EQ(std::vector<Token>(tokens.begin() + 3, tokens.end()), example.tokens);
  EXPECT_EQ(answer.begin, example.answer_begin + 3);
  EXPECT_EQ(answer.length, example.answer_length);
}

TEST(Task, LettersAreUniform) {
  const Task task(spec(TaskKind::copy, 0, 0, 5));
  std::map<char, int> counts;
  for (uint64_t index = 0; index < 500; ++index) {
    for (const char c : drawn(task, 100, index).string) ++counts[c];
  }
  EXPECT_EQ(counts.size(), 5u);
  for (const auto& [letter, count] : counts) EXPECT_NEAR(count, 10'000, 450) << letter;  // 5 sigma
}

// Among strings of two letters most n-grams repeat: the key must be uniform among the unique ones that are left.
TEST(Task, KeyIsUniformAmongTheUniqueOnes) {
  for (const int length_answer : {0, 2}) {
    const Task task(spec(TaskKind::prefix_ngram, 2, length_answer, 2));
    std::map<size_t, std::vector<int>> chosen;  // number of unique keys -> how often each of them was taken
    for (uint64_t index = 0; index < 20'000; ++index) {
      const ParsedExample example = drawn(task, 6, index);
      const std::vector<int> starts = slow_unique_starts(example.string, 2, 6 - 2 - std::max(length_answer, 1));
      const auto at = std::find(starts.begin(), starts.end(), static_cast<int>(example.string.find(example.key)));
      ASSERT_NE(at, starts.end()) << example.string << " " << example.key;
      auto& counts = chosen[starts.size()];
      counts.resize(starts.size());
      ++counts[at - starts.begin()];
    }
    EXPECT_GE(chosen.size(), 2u);
    for (const auto& [unique, counts] : chosen) {
      double total = 0;
      for (const int count : counts) total += count;
      const double expected = total / static_cast<double>(unique);
      for (const int count : counts) EXPECT_NEAR(count, expected, 5 * std::sqrt(expected)) << unique;
    }
  }
}

TEST(Task, KeyStartsAnywhereThatLeavesRoomForTheAnswer) {
  for (const int length_answer : {0, 3}) {
    const Task task(spec(TaskKind::suffix_ngram, 6, length_answer));
    std::map<int, int> starts;
    constexpr int draws = 4000;
    for (uint64_t index = 0; index < draws; ++index) {
      const ParsedExample example = drawn(task, 16, index);
      ++starts[static_cast<int>(example.string.find(example.key))];
    }
    const int places = 16 - 6 - std::max(length_answer, 1) + 1;
    EXPECT_EQ(starts.size(), static_cast<size_t>(places));
    EXPECT_EQ(starts.rbegin()->first, places - 1);
    const double expected = static_cast<double>(draws) / places;
    for (const auto& [start, count] : starts) EXPECT_NEAR(count, expected, 5 * std::sqrt(expected)) << start;
  }
}

// Every number comes from the one stream, in this order: letters, then the key; where there is no key, letters again.
TEST(Task, RedrawsConsumeFromTheSameStream) {
  const Task task(spec(TaskKind::prefix_ngram, 1));
  constexpr int length = 100;
  int redraws = 0;
  for (uint64_t index = 0; index < 300; ++index) {
    PhiloxStream slow = stream(index);
    std::string string(length, ' ');
    std::vector<int> starts;
    for (;; ++redraws) {
      for (char& c : string) c = static_cast<char>('a' + slow.below(26));
      starts = slow_unique_starts(string, 1, length - 2);
      if (!starts.empty()) break;
    }
    const int start = starts[slow.below(static_cast<uint32_t>(starts.size()))];
    const std::string expected = std::string("$") + string[start] + "|" + string + "|" + string.substr(start + 1) + ".";
    PhiloxStream fast = stream(index);
    ASSERT_EQ(task.alphabet().text(task.draw(length, fast).tokens), expected);
    ASSERT_EQ(fast.next(), slow.next());
  }
  EXPECT_GT(redraws, 10);
}

TEST(Task, AnyKeyGivesTheContinuationOfTheFirstOccurrence) {
  const Task task(spec(TaskKind::suffix_ngram, 1, 0, 2, NgramKey::any));
  int ambiguous = 0;
  for (uint64_t index = 0; index < 200; ++index) {
    const ParsedExample example = drawn(task, 12, index);
    ambiguous += occurrences(example.string, example.key) > 1;
    EXPECT_EQ(example.answer, example.string.substr(example.string.find(example.key) + 1));
  }
  EXPECT_GT(ambiguous, 150);
}

TEST(Task, AnyKeyStartsWhereThePublishedCodeDoes) {
  for (const int length_answer : {0, 2}) {
    const Task task(spec(TaskKind::prefix_ngram, 5, length_answer, 26, NgramKey::any));
    std::map<int, int> starts;
    for (uint64_t index = 0; index < 4000; ++index) {
      const ParsedExample example = drawn(task, 16, index);
      ++starts[static_cast<int>(example.string.find(example.key))];
    }
    const int last = 16 - 5 - length_answer - 3;
    EXPECT_EQ(starts.size(), static_cast<size_t>(last + 1));
    EXPECT_EQ(starts.rbegin()->first, last);
    const double expected = 4000.0 / (last + 1);
    for (const auto& [start, count] : starts) EXPECT_NEAR(count, expected, 5 * std::sqrt(expected)) << start;
  }
}

// The string that was drawn is known (the stream's first letters): s' must be s with one of its n-grams replaced by
// another of its own, for some pair.
TEST(Task, DuplicateNgramReplacesOneNgramByAnother) {
  for (int n = 1; n <= 8; ++n) {
    for (const int letters : {3, 26}) {
      const Task task(spec(TaskKind::duplicate_ngram, n, 0, letters));
      for (const int length : {n + 5, 30}) {
        for (uint64_t index = 0; index < 5; ++index) {
          PhiloxStream random = stream(index);
          std::string s(length, ' ');
          for (char& c : s) c = static_cast<char>('a' + random.below(letters));
          std::set<std::string> ngrams;
          for (int start = 0; start + n <= length; ++start) ngrams.insert(s.substr(start, n));
          std::set<std::string> possible;
          for (const std::string& from : ngrams) {
            for (const std::string& to : ngrams) {
              if (from != to) possible.insert(replaced(s, from, to));
            }
          }
          const ParsedExample example = drawn(task, length, index);
          EXPECT_THAT(possible, testing::Contains(example.string)) << s << " n " << n;
          EXPECT_NE(example.string, s);
          EXPECT_EQ(example.answer, example.string);
        }
      }
    }
  }
}

TEST(Task, DuplicateNgramNeedsNoUniqueNgram) {
  const Task task(spec(TaskKind::duplicate_ngram, 1));
  std::set<char> letters;
  for (const char c : drawn(task, 1000, 0).string) letters.insert(c);
  EXPECT_EQ(letters.size(), 25u);  // all 26 occur many times before, one of them no more
}

// A string of one letter only is drawn again; of the others, one letter is replaced by the other.
TEST(Task, DuplicateNgramDrawsAgainUntilThereAreTwo) {
  const Task task(spec(TaskKind::duplicate_ngram, 1, 0, 2));
  std::map<std::string, int> counts;
  int redrawn = 0;
  for (uint64_t index = 0; index < 2000; ++index) {
    PhiloxStream random = stream(index);
    const std::array first = {random.below(2), random.below(2), random.below(2)};
    redrawn += first[0] == first[1] && first[1] == first[2];
    ++counts[drawn_text(task, 3, index)];
  }
  EXPECT_GT(redrawn, 400);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_NEAR(counts["$aaa|aaa."], 1000, 120);
  EXPECT_NEAR(counts["$bbb|bbb."], 1000, 120);
}

TEST(Task, WithoutAUsableNgramTheErrorNamesNAndL) {
  const auto expect_error = [](const TaskSpec& task_spec, int length) {
    PhiloxStream random = stream(0);
    try {
      Task(task_spec).draw(length, random);
      ADD_FAILURE() << name_of(task_spec.kind);
    } catch (const UsageError& error) {
      ADD_FAILURE() << "not known before the start: " << error.what();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(std::to_string(length) + " letters"));
      EXPECT_THAT(error.what(), testing::HasSubstr(std::to_string(task_spec.n_gram) + " letters"));
      EXPECT_THAT(error.what(), testing::HasSubstr(std::string(name_of(task_spec.kind))));
      EXPECT_THAT(error.what(), testing::HasSubstr("n_gram"));
    }
  };
  expect_error(spec(TaskKind::prefix_ngram, 3, 0, 1), 17);
  expect_error(spec(TaskKind::suffix_ngram, 3, 0, 1), 17);
  expect_error(spec(TaskKind::duplicate_ngram, 3, 0, 1), 17);
  expect_error(spec(TaskKind::prefix_ngram, 1), 1000);
}

TEST(Task, GivesUpAfterTenRedraws) {
  const Task task(spec(TaskKind::prefix_ngram, 1, 0, 1));
  PhiloxStream random = stream(1);
  EXPECT_THROW(task.draw(4, random), Error);
  PhiloxStream letters = stream(1);
  for (int i = 0; i < 11 * 4; ++i) letters.below(1);
  EXPECT_EQ(random.next(), letters.next());
}

TEST(Task, CopyHoldsForOneLetterAndOneLetterAlphabets) {
  EXPECT_EQ(drawn_text(Task(spec(TaskKind::copy, 0, 0, 1)), 3, 0), "$aaa|aaa.");
  EXPECT_EQ(drawn_text(Task(spec(TaskKind::copy, 0, 0, 1)), 1, 0), "$a|a.");
  EXPECT_EQ(drawn_text(Task(spec(TaskKind::copy, 0, 2, 1)), 3, 0), "$aaa|aa.");
  EXPECT_EQ(drawn_text(Task(spec(TaskKind::copy, 0, 5, 1)), 3, 0), "$aaa|aaa.");
}

TEST(Task, ReachesTheTokensThatTheContextMustHold) {
  for (const TaskKind kind : {TaskKind::copy, TaskKind::prefix_ngram, TaskKind::suffix_ngram}) {
    const Task task(spec(kind, 2));
    size_t longest = 0;
    for (uint64_t index = 0; index < 100; ++index) longest = std::max(longest, drawn_text(task, 6, index).size());
    EXPECT_EQ(longest, static_cast<size_t>(task.max_tokens(6))) << name_of(kind);
  }
}

TEST(Task, RefusesStringsThatAreTooShort) {
  for (const TaskKind kind :
       {TaskKind::copy, TaskKind::prefix_ngram, TaskKind::suffix_ngram, TaskKind::duplicate_ngram}) {
    for (const NgramKey key : {NgramKey::unique, NgramKey::any}) {
      const Task task(spec(kind, 2, 4, 26, key));
      for (const int length : {min_length(task.spec()) - 1, 0, -1}) {
        PhiloxStream random = stream(0);
        EXPECT_THROW(task.draw(length, random), UsageError) << name_of(kind) << " " << length;
      }
    }
  }
}

TEST(Task, RefusesWhatCannotBeATask) {
  EXPECT_THROW(Task(spec(TaskKind::copy, 0, 0, 0)), UsageError);
  EXPECT_THROW(Task(spec(TaskKind::copy, 0, 0, 27)), UsageError);
  EXPECT_THROW(Task(spec(TaskKind::copy, 0, -1)), UsageError);
  for (const TaskKind kind : {TaskKind::prefix_ngram, TaskKind::suffix_ngram, TaskKind::duplicate_ngram}) {
    EXPECT_THROW(Task(spec(kind, 0)), UsageError) << name_of(kind);
    EXPECT_THROW(Task(spec(kind, -1)), UsageError) << name_of(kind);
  }
}

}  // namespace
}  // namespace recite
