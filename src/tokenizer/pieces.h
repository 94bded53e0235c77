// GPT-2's pattern, which cuts text into the pieces that merges stay inside of:
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
#pragma once

#include <string_view>

#include "tokenizer/unicode_classes.h"

namespace recite {

// Takes one piece after the other from valid UTF-8; together they are the text.
class Pieces {
 public:
  explicit Pieces(std::string_view text) : at_(text.data()), end_(at_ + text.size()) {}

  bool done() const { return at_ == end_; }
  // The next piece, never empty; only while not done().
  std::string_view next();

 private:
  const char* behind_piece() const;
  const char* behind_contraction() const;
  const char* behind_run(const char* at) const;
  const char* behind_spaces() const;

  const UnicodeClasses& classes_ = UnicodeClasses::table();
  const char *at_, *end_;
};

}  // namespace recite
