// recite tokenize: the token ids of text, line by line; with --decode the way back.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "commands/commands.h"
#include "tokenizer/tokenizer.h"

namespace recite {

namespace {

// The id that a word of a line is.
int32_t id_of(std::string_view word) {
  int32_t id = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
  if (error != std::errc() || end != word.data() + word.size() || id < 0) {
    throw UsageError(fmt::format("'{}' is no token id; --decode reads ids with spaces between them", word));
  }
  return id;
}

std::vector<int32_t> ids_of(std::string_view line) {
  constexpr std::string_view gaps = " \t\r";
  std::vector<int32_t> ids;
  for (;;) {
    line.remove_prefix(std::min(line.find_first_not_of(gaps), line.size()));
    if (line.empty()) return ids;
    const std::string_view word = line.substr(0, line.find_first_of(gaps));
    ids.push_back(id_of(word));
    line.remove_prefix(word.size());
  }
}

// Answers each line of `input` with one; a message names the line.
template <class Answer>
void answer_lines(std::istream& input, const std::string& name, const Answer& answer) {
  std::string line;
  for (int64_t number = 1; std::getline(input, line); ++number) {
    try {
      fmt::print("{}\n", answer(line));
    } catch (const Error& error) {
      throw UsageError(fmt::format("{}, line {}: {}", name, number, error.what()));
    }
  }
  if (input.bad()) throw Error(fmt::format("{}: reading failed", name));
}

void answer_lines(const Tokenizer& tokenizer, std::istream& input, const std::string& name, const Arguments& given) {
  const SpecialTokens special = given.has("skip-special") ? SpecialTokens::skip : SpecialTokens::keep;
  if (given.has("decode")) {
    answer_lines(input, name, [&](const std::string& line) { return tokenizer.decode(ids_of(line), special); });
  } else {
    answer_lines(input, name,
                 [&](const std::string& line) { return fmt::format("{}", fmt::join(tokenizer.encode(line), " ")); });
  }
}

}  // namespace

int tokenize_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("tokenize", arguments);
  if (given.help) return static_cast<int>(ExitCode::done);
  if (!given.has("tokenizer")) throw UsageError("--tokenizer is missing: the tokenizer.json whose ids are wanted");
  if (given.has("skip-special") && !given.has("decode")) {
    throw UsageError("--skip-special means nothing without --decode");
  }
  const Tokenizer tokenizer = Tokenizer::load(*given.text("tokenizer"));
  if (given.operands.empty()) {
    answer_lines(tokenizer, std::cin, "standard input", given);
  } else {
    const std::string& path = given.operands.front();
    std::ifstream file(path, std::ios::binary);
    if (!file || std::filesystem::is_directory(path)) throw UsageError(fmt::format("{}: cannot be read", path));
    answer_lines(tokenizer, file, path, given);
  }
  return static_cast<int>(ExitCode::done);
}

}  // namespace recite
