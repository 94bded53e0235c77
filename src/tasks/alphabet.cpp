#include "tasks/alphabet.h"

#include <fmt/format.h>

#include <string_view>

#include "base/error.h"

namespace recite {

Alphabet::Alphabet(int letters) : letters_(letters) {
  if (letters < 1 || letters > 26) {
    throw UsageError(fmt::format("vocab_size is {}, but the alphabet has 1 to 26 letters: change vocab_size", letters));
  }
}

std::string Alphabet::text(std::span<const Token> tokens) const {
  constexpr std::string_view marks = "$|.*";
  std::string text;
  text.reserve(tokens.size());
  for (const Token token : tokens) {
    if (token < letters_) {
      text += static_cast<char>('a' + token);
    } else {
      text += token < size() ? marks[token - letters_] : '?';
    }
  }
  return text;
}

}  // namespace recite
