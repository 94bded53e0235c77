// UTF-8: steps through text, and what to do where it is none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace recite {

// Of the first sequence that is not UTF-8 (RFC 3629: no surrogates, no overlong forms): its offset in bytes, or npos.
size_t first_invalid_utf8(std::string_view text);

// The bytes with U+FFFD in place of each maximal part that begins a sequence but does not complete it, and of each
// other byte that fits nowhere (the Unicode standard's "substitution of maximal subparts", as of Rust's
// from_utf8_lossy).
std::string utf8_with_replacements(std::string bytes);

void append_utf8(std::string& text, char32_t point);

// The code point at `at`, which must begin one of valid text; moves `at` behind it.
inline char32_t next_code_point(const char*& at) {
  const auto byte = [&](int i) { return static_cast<char32_t>(static_cast<unsigned char>(at[i])); };
  const char32_t first = byte(0);
  if (first < 0x80) return at += 1, first;
  if (first < 0xE0) {
    const char32_t point = (first & 0x1F) << 6 | (byte(1) & 0x3F);
    return at += 2, point;
  }
  if (first < 0xF0) {
    const char32_t point = (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    return at += 3, point;
  }
  const char32_t point = (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  return at += 4, point;
}

// The start of the code point before `at`, which must have one before it in valid text.
inline const char* previous_code_point(const char* at) {
  do --at;
  while ((static_cast<unsigned char>(*at) & 0xC0) == 0x80);
  return at;
}

// Whether the eight bytes at `at` are ASCII.
bool eight_ascii(const char* at);

}  // namespace recite
