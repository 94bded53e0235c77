#include "tokenizer/byte_letters.h"

#include <array>
#include <unordered_map>

#include "tokenizer/utf8.h"

namespace recite {

namespace {

// Printable bytes of Latin-1 stand for themselves, the other ones for U+0100, U+0101, ... in their order.
bool is_printable(int byte) { return (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD); }

std::array<char32_t, 256> made_letters() {
  std::array<char32_t, 256> letters{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) letters[byte] = is_printable(byte) ? static_cast<char32_t>(byte) : next++;
  return letters;
}

const std::array<char32_t, 256>& letters() {
  static const std::array<char32_t, 256> made = made_letters();
  return made;
}

const std::unordered_map<char32_t, uint8_t>& bytes() {
  static const std::unordered_map<char32_t, uint8_t> made = [] {
    std::unordered_map<char32_t, uint8_t> of;
    for (int byte = 0; byte < 256; ++byte) of[letters()[byte]] = static_cast<uint8_t>(byte);
    return of;
  }();
  return made;
}

}  // namespace

std::string letter_of_byte(uint8_t byte) {
  std::string text;
  append_utf8(text, letters()[byte]);
  return text;
}

std::optional<std::string> bytes_of_letters(std::string_view token) {
  std::string text;
  for (const char *at = token.data(), *const end = at + token.size(); at < end;) {
    const auto found = bytes().find(next_code_point(at));
    if (found == bytes().end()) return std::nullopt;
    text += static_cast<char>(found->second);
  }
  return text;
}

}  // namespace recite
