#include "tokenizer/pieces.h"

#include "tokenizer/utf8.h"

namespace recite {

std::string_view Pieces::next() {
  const char* const begin = at_;
  at_ = behind_piece();
  return {begin, static_cast<size_t>(at_ - begin)};
}

const char* Pieces::behind_piece() const {
  if (*at_ == '\'') {
    const char* const behind = behind_contraction();
    return behind ? behind : behind_run(at_);
  }
  const char* const behind_space = *at_ == ' ' ? at_ + 1 : at_;
  const char* peek = behind_space;
  const bool ends_or_space = peek == end_ || classes_.is(space, next_code_point(peek));
  return ends_or_space ? behind_spaces() : behind_run(behind_space);
}

// Behind the contraction that begins with the apostrophe at the start; null when there is none.
const char* Pieces::behind_contraction() const {
  const std::string_view rest(at_ + 1, static_cast<size_t>(end_ - at_ - 1));
  for (const std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"}) {
    if (rest.substr(0, ending.size()) == ending) return at_ + 1 + ending.size();
  }
  return nullptr;
}

// Behind the letters, the numbers, or what is none of these nor space, whichever `at` begins.
const char* Pieces::behind_run(const char* at) const {
  constexpr uint8_t which = letter | number | space;
  const uint8_t wanted = classes_.of(next_code_point(at)) & which;
  while (at < end_) {
    const char* behind = at;
    if ((classes_.of(next_code_point(behind)) & which) != wanted) break;
    at = behind;
  }
  return at;
}

// A run of white space that something follows leaves it its last character, if it has others.
const char* Pieces::behind_spaces() const {
  const char *last = at_, *behind = at_;
  while (behind < end_) {
    const char* at = behind;
    if (!classes_.is(space, next_code_point(at))) break;
    last = behind;
    behind = at;
  }
  return behind < end_ && last > at_ ? last : behind;
}

}  // namespace recite
