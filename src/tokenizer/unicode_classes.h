// What a code point is to Hugging Face's `tokenizers`, whose libraries know other versions of Unicode than ours do:
// 16 in the patterns (letter, number, space, word), 9 in NFC. tests/tokenizer/unicode_table.py asks the wheel and
// writes the table.
#pragma once

#include <cstdint>
#include <vector>

namespace recite {

enum UnicodeClass : uint8_t {
  letter = 1,        // \p{L}
  number = 2,        // \p{N}
  space = 4,         // \s
  word = 8,          // \w: what a token that must be a single word may not touch
  nfc_touched = 16,  // NFC may change it, move it, or compose it with what stands before it
};

// By code point, 0 to 0x10FFFF.
class UnicodeClasses {
 public:
  static const UnicodeClasses& table();

  // Bits of UnicodeClass; at most one of letter, number and space.
  uint8_t of(char32_t point) const { return bits_[point]; }
  bool is(UnicodeClass which, char32_t point) const { return (bits_[point] & which) != 0; }

 private:
  UnicodeClasses();

  std::vector<uint8_t> bits_;
};

}  // namespace recite
