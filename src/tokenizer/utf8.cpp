#include "tokenizer/utf8.h"

#include <cstring>

namespace recite {

namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";

struct Sequence {
  size_t length = 1;  // bytes, at least 1
  bool valid = false;
};

// What a first byte allows: bytes of the sequence, and the range of the second one. 0: it begins none.
struct Lead {
  size_t length = 0;
  unsigned char low = 0x80, high = 0xBF;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {};
}

// The sequence that begins `text`: whole, or as far as it could be one.
Sequence first_sequence(std::string_view text) {
  const Lead lead = lead_of(static_cast<unsigned char>(text[0]));
  if (lead.length == 0) return {1, false};
  for (size_t i = 1; i < lead.length; ++i) {
    const auto byte = static_cast<unsigned char>(i < text.size() ? text[i] : 0);
    const bool fits = i == 1 ? lead.low <= byte && byte <= lead.high : (byte & 0xC0) == 0x80;
    if (!fits) return {i, false};
  }
  return {lead.length, true};
}

}  // namespace

bool eight_ascii(const char* at) {
  uint64_t bytes = 0;
  std::memcpy(&bytes, at, sizeof bytes);
  return (bytes & 0x8080808080808080) == 0;
}

size_t first_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (at + 8 <= text.size() && eight_ascii(text.data() + at)) {
      at += 8;
      continue;
    }
    const Sequence sequence = first_sequence(text.substr(at));
    if (!sequence.valid) return at;
    at += sequence.length;
  }
  return std::string_view::npos;
}

std::string utf8_with_replacements(std::string bytes) {
  size_t at = first_invalid_utf8(bytes);
  if (at == std::string_view::npos) return bytes;
  std::string text = bytes.substr(0, at);
  const std::string_view all = bytes;
  while (at < all.size()) {
    const Sequence sequence = first_sequence(all.substr(at));
    text += sequence.valid ? all.substr(at, sequence.length) : replacement;
    at += sequence.length;
  }
  return text;
}

void append_utf8(std::string& text, char32_t point) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | (point >> shift & 0x3F)); };
  if (point < 0x80) {
    text += static_cast<char>(point);
  } else if (point < 0x800) {
    text += static_cast<char>(0xC0 | point >> 6);
    tail(0);
  } else if (point < 0x10000) {
    text += static_cast<char>(0xE0 | point >> 12);
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0 | point >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace recite
