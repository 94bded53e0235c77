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

utf8proc_category_t category_of(char32_t point) { return utf8proc_category(static_cast<utf8proc_int32_t>(point)); }

char32_t lower_of(char32_t point) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point)));
}

bool is_cased(char32_t point) {
  const utf8proc_category_t category = category_of(point);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT ||
         lower_of(point) != point ||
         utf8proc_toupper(static_cast<utf8proc_int32_t>(point)) != static_cast<utf8proc_int32_t>(point);
}

// Marks, and punctuation that stands inside of words.
bool is_case_ignorable(char32_t point) {
  switch (category_of(point)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return std::u32string_view(U"'.:\u00B7\u2018\u2019\u2024\u2027").find(point) != std::u32string_view::npos;
  }
}

// The Unicode standard's condition Final_Sigma: letters before it, and none after.
bool ends_word(std::u32string_view text, size_t at) {
  const auto before = std::find_if_not(text.rbegin() + (text.size() - at), text.rend(), is_case_ignorable);
  const auto after = std::find_if_not(text.begin() + at + 1, text.end(), is_case_ignorable);
  return before != text.rend() && is_cased(*before) && (after == text.end() || !is_cased(*after));
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
  const utf8proc_category_t category = category_of(point);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||  // letters
         (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);    // numbers
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
    if (text[i] == U'\u0130') {
      out += U"i\u0307";
    } else if (text[i] == U'\u03A3' && ends_word(text, i)) {
      out += U'\u03C2';
    } else {
      out += lower_of(text[i]);
    }
  }
  return out;
}

}  // namespace recite
