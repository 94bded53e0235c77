#include "tests/tasks/parsed_example.h"

#include <algorithm>

namespace recite {

std::optional<ParsedExample> parse_example(const TaskSpec& spec, std::string_view text) {
  const auto is_letter = [&](char c) { return c >= 'a' && c < 'a' + spec.vocab_size; };
  const auto all_letters = [&](std::string_view part) { return std::ranges::all_of(part, is_letter); };
  const auto separators = spec.kind == TaskKind::prefix_ngram ? 2 : 1;
  if (text.size() < 2 || text.front() != '$' || text.back() != '.') return std::nullopt;
  if (std::ranges::count(text, '|') != separators) return std::nullopt;

  std::string_view rest = text.substr(1, text.size() - 2);
  ParsedExample example;
  if (spec.kind == TaskKind::prefix_ngram) {
    example.key = rest.substr(0, rest.find('|'));
    rest.remove_prefix(example.key.size() + 1);
  }
  example.string = rest.substr(0, rest.find('|'));
  rest.remove_prefix(example.string.size() + 1);
  if (spec.kind == TaskKind::suffix_ngram) {
    example.key = rest.substr(0, spec.n_gram);
    rest.remove_prefix(example.key.size());
  }
  example.answer = rest;
  example.answer_begin = text.size() - 1 - rest.size();
  if (!all_letters(example.string) || !all_letters(example.key) || !all_letters(example.answer)) return std::nullopt;
  return example;
}

int occurrences(std::string_view string, std::string_view ngram) {
  int count = 0;
  for (size_t start = 0; start + ngram.size() <= string.size(); ++start) {
    count += string.substr(start, ngram.size()) == ngram;
  }
  return count;
}

std::vector<int> slow_unique_starts(std::string_view string, int n, int last_start) {
  std::vector<int> starts;
  for (int start = 0; start <= last_start; ++start) {
    if (occurrences(string, string.substr(start, n)) == 1) starts.push_back(start);
  }
  return starts;
}

std::string replaced(std::string string, std::string_view from, std::string_view to) {
  for (size_t at = string.find(from); at != std::string::npos; at = string.find(from, at + to.size())) {
    string.replace(at, from.size(), to);
  }
  return string;
}

}  // namespace recite
