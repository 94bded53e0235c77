#include "tokenizer/nfc.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "tokenizer/unicode_classes.h"
#include "tokenizer/utf8.h"

namespace recite {

namespace {

// The first code point in [at, end) that NFC may touch, or `end`.
const char* first_touched(const char* at, const char* end) {
  const UnicodeClasses& classes = UnicodeClasses::table();
  while (at < end) {
    if (end - at >= 8 && eight_ascii(at)) {
      at += 8;
      continue;
    }
    const char* const here = at;
    if (classes.is(nfc_touched, next_code_point(at))) return here;
  }
  return end;
}

int combining_class(utf8proc_int32_t point) { return utf8proc_get_property(point)->combining_class; }

void append_decomposed(std::vector<utf8proc_int32_t>& points, char32_t point) {
  const size_t before = points.size();
  constexpr size_t longest = 8;  // the longest canonical decomposition has 4
  points.resize(before + longest);
  int unused = 0;
  const auto length = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(point), points.data() + before, longest,
                                              UTF8PROC_DECOMPOSE, &unused);
  if (length < 0 || static_cast<size_t>(length) > longest) {
    throw Error(fmt::format("utf8proc cannot decompose U+{:04X}", static_cast<uint32_t>(point)));
  }
  points.resize(before + static_cast<size_t>(length));
}

// Puts each run of marks into canonical order. utf8proc would do so too, but in quadratic time.
void order_marks(std::vector<utf8proc_int32_t>& points, size_t from) {
  const auto is_mark = [](utf8proc_int32_t point) { return combining_class(point) != 0; };
  const auto before = [](utf8proc_int32_t a, utf8proc_int32_t b) { return combining_class(a) < combining_class(b); };
  for (auto at = points.begin() + static_cast<std::ptrdiff_t>(from); at != points.end();) {
    const auto begin = std::find_if(at, points.end(), is_mark);
    at = std::find_if_not(begin, points.end(), is_mark);
    std::stable_sort(begin, at, before);
  }
}

// Appends [begin, end), of which all but an untouched code point at the start may be touched.
void append_composed(std::string& out, const char* begin, const char* end) {
  std::vector<utf8proc_int32_t> points;
  for (const char* at = begin; at < end;) append_decomposed(points, next_code_point(at));
  const char* second = begin;
  // An untouched mark, one that came after Unicode 9, keeps its place.
  const bool fixed_start = !UnicodeClasses::table().is(nfc_touched, next_code_point(second));
  order_marks(points, fixed_start ? 1 : 0);
  const auto length = utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  if (length < 0) throw Error(fmt::format("utf8proc cannot compose: {}", utf8proc_errmsg(length)));
  for (utf8proc_ssize_t i = 0; i < length; ++i) append_utf8(out, static_cast<char32_t>(points[static_cast<size_t>(i)]));
}

}  // namespace

bool surely_nfc(std::string_view text) {
  const char *const begin = text.data(), *const end = begin + text.size();
  return first_touched(begin, end) == end;
}

std::string nfc(std::string_view text) {
  const UnicodeClasses& classes = UnicodeClasses::table();
  const char *done = text.data(), *const end = done + text.size();
  std::string out;
  out.reserve(text.size());
  for (;;) {
    const char* const touched = first_touched(done, end);
    if (touched == end) return out.append(done, end);
    const char* const begin = touched > done ? previous_code_point(touched) : touched;
    out.append(done, begin);
    const char* stop = touched;
    for (const char* at = touched; at < end; stop = at) {
      if (!classes.is(nfc_touched, next_code_point(at))) break;
    }
    append_composed(out, begin, stop);
    done = stop;
  }
}

}  // namespace recite
