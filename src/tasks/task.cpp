#include "tasks/task.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "tasks/ngrams.h"

namespace recite {

namespace {

void draw_letters(std::span<Token> string, const TaskSpec& spec, PhiloxStream& random) {
  for (Token& letter : string) letter = static_cast<Token>(random.below(spec.vocab_size));
}

[[noreturn]] void refuse_strings(const TaskSpec& spec, size_t length, int drawn) {
  const std::string wanted = is_lookup(spec.kind) ? fmt::format("key of {} letters that occurs once", spec.n_gram)
                                                  : fmt::format("two different n-grams of {} letters", spec.n_gram);
  throw Error(
      fmt::format("{}: {} random strings of {} letters (vocab_size {}) had no {}: change n_gram or the lengths{}",
                  name_of(spec.kind), drawn, length, spec.vocab_size, wanted,
                  is_lookup(spec.kind) ? ", or set ngram_key = any" : ""));
}

// Draws strings until `choose(string)` finds in one what the task needs, and returns that.
template <class Choose>
auto draw_until(std::span<Token> string, const TaskSpec& spec, PhiloxStream& random, Choose choose) {
  constexpr int redraws = 10;
  for (int drawn = 0; drawn <= redraws; ++drawn) {
    draw_letters(string, spec, random);
    if (auto chosen = choose(Letters(string))) return *std::move(chosen);
  }
  refuse_strings(spec, string.size(), redraws + 1);
}

// Fills `string` and returns where the key of the look-up starts.
int draw_with_key(std::span<Token> string, const TaskSpec& spec, PhiloxStream& random) {
  const int after_key = static_cast<int>(string.size()) - spec.n_gram;
  if (spec.ngram_key == NgramKey::any) {
    draw_letters(string, spec, random);
    const int last_start = after_key - spec.length_answer - 3;
    return first_occurrence(string, string.subspan(random.below(last_start + 1), spec.n_gram));
  }
  const int last_start = after_key - std::max(spec.length_answer, 1);
  return draw_until(string, spec, random, [&](Letters letters) -> std::optional<int> {
    const std::vector<int> starts = unique_starts(letters, spec.n_gram, last_start);
    if (starts.empty()) return std::nullopt;
    return starts[random.below(static_cast<uint32_t>(starts.size()))];
  });
}

void draw_with_duplicate(std::span<Token> string, const TaskSpec& spec, PhiloxStream& random) {
  const NgramPair ngrams = draw_until(
      string, spec, random, [&](Letters letters) { return draw_different_ngrams(letters, spec.n_gram, random); });
  replace_ngram(string, ngrams.first, ngrams.second);
}

}  // namespace

Task::Task(const TaskSpec& spec) : spec_(spec), alphabet_(spec.vocab_size) {
  if (reads_text(spec.kind)) {
    throw UsageError(fmt::format("{} asks pretrained models, and has no strings of letters: choose another task",
                                 name_of(spec.kind)));
  }
  if (uses_n_gram(spec.kind) && spec.n_gram < 1) {
    throw UsageError(fmt::format("n_gram is {}, but {} needs an n-gram of 1 letter or more: set n_gram", spec.n_gram,
                                 name_of(spec.kind)));
  }
  if (spec.length_answer < 0) {
    throw UsageError(fmt::format("length_answer is {}: set it to a number of letters, or to 0 for all that {} allows",
                                 spec.length_answer, name_of(spec.kind)));
  }
}

TaskExample Task::draw(int length, PhiloxStream& random) const {
  TaskExample example;
  example.tokens.reserve(std::max(max_tokens(length), 0));
  const Answer answer = append(length, random, example.tokens);
  example.answer_begin = answer.begin;
  example.answer_length = answer.length;
  return example;
}

Answer Task::append(int length, PhiloxStream& random, std::vector<Token>& tokens) const {
  if (length < min_length(spec_)) {
    throw UsageError(fmt::format("{} with n_gram {} and length_answer {} needs strings of {} letters or more, not {}",
                                 name_of(spec_.kind), spec_.n_gram, spec_.length_answer, min_length(spec_), length));
  }
  std::vector<Token> string(length);
  Letters key;
  Letters answer = string;
  switch (spec_.kind) {
    case TaskKind::copy:
      draw_letters(string, spec_, random);
      break;
    case TaskKind::duplicate_ngram:
      draw_with_duplicate(string, spec_, random);
      break;
    case TaskKind::prefix_ngram:
    case TaskKind::suffix_ngram: {
      const int start = draw_with_key(string, spec_, random);
      key = Letters(string).subspan(start, spec_.n_gram);
      answer = Letters(string).subspan(start + spec_.n_gram);
      break;
    }
    default:  // refused by the constructor
      break;
  }
  if (spec_.length_answer > 0) answer = answer.first(std::min<size_t>(spec_.length_answer, answer.size()));

  const auto put = [&](Letters part) { tokens.insert(tokens.end(), part.begin(), part.end()); };
  tokens.push_back(alphabet_.begin());
  if (spec_.kind == TaskKind::prefix_ngram) {
    put(key);
    tokens.push_back(alphabet_.separator());
  }
  put(string);
  tokens.push_back(alphabet_.separator());
  if (spec_.kind == TaskKind::suffix_ngram) put(key);
  const Answer place{static_cast<int>(tokens.size()), static_cast<int>(answer.size())};
  put(answer);
  tokens.push_back(alphabet_.end());
  return place;
}

}  // namespace recite
