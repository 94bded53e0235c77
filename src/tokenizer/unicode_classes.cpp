#include "tokenizer/unicode_classes.h"

#include <algorithm>
#include <iterator>

namespace recite {

namespace {

constexpr size_t code_points = 0x110000;

// Runs of code points: first << 8 | bits. Written by tests/tokenizer/unicode_table.py.
constexpr uint32_t runs[] = {
#include "tokenizer/unicode_table.inc"
};

}  // namespace

UnicodeClasses::UnicodeClasses() : bits_(code_points) {
  for (size_t i = 0; i < std::size(runs); ++i) {
    const size_t end = i + 1 < std::size(runs) ? runs[i + 1] >> 8 : code_points;
    std::fill(bits_.begin() + (runs[i] >> 8), bits_.begin() + static_cast<std::ptrdiff_t>(end),
              static_cast<uint8_t>(runs[i] & 0xFF));
  }
}

const UnicodeClasses& UnicodeClasses::table() {
  static const UnicodeClasses made;
  return made;
}

}  // namespace recite
