// How right an answer is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "prompts/spec.h"

namespace recite {

struct Score {
  double exact_match = 0;  // 0 or 1
  double f1 = 0;           // 0..1; NaN but for squad
};

// What squad compares: lower case, punctuation away, the words a, an and the away, words parted by single spaces.
//   published   each of ASCII's punctuation characters, and of the quotes U+2018 U+2019 U+00B4, becomes a space
//   official    each of ASCII's punctuation characters is deleted, as SQuAD's own script does
std::string normalised(SquadNormalisation rule, std::string_view text);

// c4_copy, phone_book: whether the answer is a gold one, to the letter.
// squad: the best over the gold answers, of exact match and of F1 each, once normalised. F1 is that of the words, as
// often as they come; 0 when none is shared (also of two empty texts, as in SQuAD's script for version 1.1). Throws
// Error when there is no gold answer.
Score score(const PromptSpec& spec, const std::string& answer, const std::vector<std::string>& gold);

}  // namespace recite
