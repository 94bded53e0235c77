// Tokens: the first vocab_size letters, then `$` (begin), `|` (separator), `.` (end), `*` (padding), in that order.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace recite {

using Token = uint8_t;

class Alphabet {
 public:
  explicit Alphabet(int letters);  // 1..26; throws UsageError otherwise

  int letters() const { return letters_; }
  int size() const { return letters_ + 4; }
  Token begin() const { return static_cast<Token>(letters_); }
  Token separator() const { return static_cast<Token>(letters_ + 1); }
  Token end() const { return static_cast<Token>(letters_ + 2); }
  Token padding() const { return static_cast<Token>(letters_ + 3); }

  // "$abc|abc."; `?` for a number that is no token.
  std::string text(std::span<const Token> tokens) const;

 private:
  int letters_;
};

}  // namespace recite
