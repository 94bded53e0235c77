// The passages of SQuAD, from its official JSON, version 1.1 or 2.0.
#pragma once

#include <string>
#include <vector>

namespace recite {

struct SquadQuestion {
  std::string text;
  std::vector<std::string> answers;  // one or more, in the order of the file; the same one may come several times
};

struct SquadPassage {
  std::string context;
  std::vector<SquadQuestion> questions;  // those that have an answer
};

// The passages with at least two answered questions, in the order of the file (plain or .gz). Throws UsageError that
// names the file and the place in it: missing, damaged, no JSON, not SQuAD's fields.
std::vector<SquadPassage> read_squad(const std::string& path);

}  // namespace recite
