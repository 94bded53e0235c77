// An independent reading of examples as text ("$ab|cabd|d."), and slow counterparts of what tasks/ does.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tasks/task.h"

namespace recite {

struct ParsedExample {
  std::string string;
  std::string key;          // "" for copy and duplicate_ngram
  std::string answer;       // without the end mark
  size_t answer_begin = 0;  // index of the answer in the text
};

// Nothing when the text has not the form of the task.
std::optional<ParsedExample> parse_example(const TaskSpec& spec, std::string_view text);

// Occurrences at all starts, overlaps counted.
int occurrences(std::string_view string, std::string_view ngram);

// The starts 0..last_start whose n-gram occurs once in the whole string.
std::vector<int> slow_unique_starts(std::string_view string, int n, int last_start);

// Every occurrence replaced, left to right, without overlaps.
std::string replaced(std::string string, std::string_view from, std::string_view to);

}  // namespace recite
