// Greedy generation: the most likely token, again and again, for a batch of prompts of any lengths.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "models/model.h"

namespace recite {

struct GenerateOptions {
  // Asked after each new token of a row with all new tokens that the row has; true ends the row, whose last token is
  // then the newest. `row` is the prompt's index. Undefined: never.
  std::function<bool(int64_t row, std::span<const int32_t> tokens)> finished = {};
  std::optional<int32_t> end_of_text = {};  // ends a row, and is no part of its text
  bool suppress_end_first = false;          // end_of_text cannot be a row's first token
};

// Continues each prompt, of one token at least, by at most its own max_new_tokens >= 0: the new tokens of each. All
// prompts are one batch, read in one pass; that they fit the model's positions is the caller's care. Only tokens below
// model.vocabulary() can win. What a row's text is does not depend on the other rows, but for products whose last bits
// depend on the size of the batch: it matters where the two best logits are as near as that.
//
// Rows that ended leave the batch when they are half of it: what is read and multiplied is then halved too, and a cache
// is copied, and a GPU's graph of a step made again, no more than log2(rows) times.
//
// Throws Error for a prompt without tokens, a token that the model does not know, or numbers that do not belong
// together, before anything is computed.
std::vector<std::vector<int32_t>> generate(Model& model, const std::vector<std::vector<int32_t>>& prompts,
                                           const std::vector<int64_t>& max_new_tokens, const GenerateOptions& options);

}  // namespace recite
