#include "tokenizer/pieces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace recite {
namespace {

struct Case {
  std::string text;
  std::vector<std::string> pieces;
};

std::vector<std::string> pieces_of(const std::string& text) {
  std::vector<std::string> found;
  for (Pieces pieces(text); !pieces.done();) found.emplace_back(pieces.next());
  return found;
}

TEST(Pieces, FollowThePattern) {
  const std::vector<Case> cases = {
      {"", {}},
      {"hello world", {"hello", " world"}},
      {"don't DON'T", {"don", "'t", " DON", "'", "T"}},
      {"we're I'll I've I'm he'd it's", {"we", "'re", " I", "'ll", " I", "'ve", " I", "'m", " he", "'d", " it", "'s"}},
      {"'l ''s 'tis", {"'", "l", " ''", "s", " '", "tis"}},
      {"'star", {"'s", "tar"}},
      {"abc123!?x", {"abc", "123", "!?", "x"}},
      {"a  b", {"a", " ", " b"}},
      {"a   ", {"a", "   "}},
      {"a\n\nb", {"a", "\n", "\n", "b"}},
      {" \n b", {" \n", " b"}},
      {"a\u00A0b", {"a", "\u00A0", "b"}},
      {"x\u3000\u3000 1", {"x", "\u3000\u3000", " 1"}},
      {" \u00BD\u0664", {" \u00BD\u0664"}},
      {"e\u0301", {"e", "\u0301"}},
      {"\u200D_\U0001F600", {"\u200D_\U0001F600"}},
  };
  for (const Case& each : cases) EXPECT_EQ(pieces_of(each.text), each.pieces) << each.text;
}

}  // namespace
}  // namespace recite
