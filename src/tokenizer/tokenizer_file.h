// What a tokenizer.json says, as far as it is of the byte-level BPE kind.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "tokenizer/added_tokens.h"

namespace recite {

// A pair of tokens of the vocabulary and what it becomes.
struct MergeRule {
  int32_t left = 0, right = 0, merged = 0;
};

struct TokenizerFile {
  bool nfc = false;
  bool add_prefix_space = true;  // before text that does not begin with one
  bool use_regex = true;         // cut by GPT-2's pattern
  bool ignore_merges = false;    // a piece that is a token as a whole is that token
  std::unordered_map<std::string, int32_t> vocabulary;
  std::vector<MergeRule> merges;  // by rank
  std::vector<AddedToken> added_tokens;
};

// Throws UsageError naming the file, the place in it, what is there and what is allowed: for what is no such file, and
// for whatever would give other tokens than Hugging Face's `tokenizers` does if it were passed over. Of the
// post-processor nothing is read.
TokenizerFile read_tokenizer_file(const std::string& path);

}  // namespace recite
