#include "prompts/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

namespace recite {

namespace {

constexpr char32_t replacement = 0xFFFD;

struct Decoded {
  utf8proc_int32_t point;  // negative: no UTF-8 here
  size_t bytes;
};

Decoded first_point(std::string_view text) {
  utf8proc_int32_t point = -1;
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), size, &point);
  return bytes > 0 ? Decoded{point, static_cast<size_t>(bytes)} : Decoded{-1, 1};
}

bool is_letter(char32_t point) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(point));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

}  // namespace

std::u32string code_points(std::string_view utf8) {
  std::u32string points;
  points.reserve(utf8.size());
  while (!utf8.empty()) {
    const Decoded decoded = first_point(utf8);
    points += decoded.point < 0 ? replacement : static_cast<char32_t>(decoded.point);
    utf8.remove_prefix(decoded.bytes);
  }
  return points;
}

std::string utf8_of(std::u32string_view points) {
  std::string text;
  text.reserve(points.size());
  std::array<utf8proc_uint8_t, 4> bytes;
  for (const char32_t point : points) {
    const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(point), bytes.data());
    text.append(reinterpret_cast<const char*>(bytes.data()), size);
  }
  return text;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Decoded decoded = first_point(text);
    if (decoded.point < 0) return false;
    text.remove_prefix(decoded.bytes);
  }
  return true;
}

bool is_space(char32_t point) {
  const bool control = (point >= 0x09 && point <= 0x0D) || (point >= 0x1C && point <= 0x1F) || point == 0x85;
  const bool separator = point == ' ' || point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
                         point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000;
  return control || separator;
}

bool is_word(char32_t point) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(point));
  return is_letter(point) || category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_NO;
}

std::string strip(std::string_view text) {
  const std::u32string points = code_points(text);
  const auto begin = std::ranges::find_if_not(points, is_space);
  auto end = points.end();
  while (end != begin && is_space(end[-1])) --end;
  return utf8_of({begin, end});
}

std::u32string lower(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const bool ends_word = i > 0 && is_letter(text[i - 1]) && (i + 1 == text.size() || !is_letter(text[i + 1]));
    if (text[i] == U'\u0130') {
      out += U"i\u0307";
    } else if (text[i] == U'\u03A3' && ends_word) {
      out += U'\u03C2';
    } else {
      out += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(text[i])));
    }
  }
  return out;
}

}  // namespace recite
