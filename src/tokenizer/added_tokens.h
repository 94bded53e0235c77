// Tokens that are looked for in the text before it is cut into pieces, as Hugging Face's `tokenizers` does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace recite {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // only where no letter, digit or mark touches it
  bool lstrip = false;       // takes white space before it along
  bool rstrip = false;       // takes white space behind it along
  bool normalized = false;   // looked for, normalised itself, in the normalised text; else in the text as it came
  bool special = false;      // left out of decoded text on demand
};

// A part of a text: an added token, or what stands between two.
struct TextPart {
  std::string_view text;
  int32_t token = -1;  // -1: none
};

// Finds the tokens of one set in texts: the leftmost and there the longest one.
class AddedTokenFinder {
 public:
  // `content` is what is looked for: not empty, and not that of another token.
  void add(const AddedToken& token, std::string_view content);

  // The parts of valid UTF-8, in order. Where a token that takes white space along (rstrip) is followed by one that
  // begins with it, both take it, and text that follows may be given twice: Hugging Face does so.
  std::vector<TextPart> split(std::string_view text) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, uint32_t>> children;
    int32_t token = -1;  // index into tokens_
  };
  struct Match {
    size_t begin = 0, end = 0;
    int32_t token = -1;
  };
  Match next_match(std::string_view text, size_t from) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);  // a trie; the first one is its root
  std::vector<bool> starts_ = std::vector<bool>(256);
};

}  // namespace recite
