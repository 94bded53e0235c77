#include "results/codec.h"

#include <fmt/format.h>

#include "base/error.h"

namespace recite {
namespace {

constexpr std::string_view ellipsis = "\u2026";

// Bytes of the UTF-8 character at the start of `text`; 0 when there is no valid one (Unicode 15, table 3-7).
size_t character_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto in = [&](size_t i, unsigned low, unsigned high) { return byte(i) >= low && byte(i) <= high; };
  const unsigned first = byte(0);
  if (first >= 0x01 && first <= 0x7F) return 1;
  if (first >= 0xC2 && first <= 0xDF) return in(1, 0x80, 0xBF) ? 2 : 0;
  const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (!in(1, low, high) || !in(2, 0x80, 0xBF)) return 0;
  if (first >= 0xE0 && first <= 0xEF) return 3;
  return first >= 0xF0 && first <= 0xF4 && in(3, 0x80, 0xBF) ? 4 : 0;
}

}  // namespace

std::string fitting_text(std::string_view text, size_t bytes) {
  std::string fitting;
  size_t room_for_ellipsis = 0;  // where the text ends if it has to be cut
  while (!text.empty()) {
    const size_t size = character_bytes(text);
    fitting += size == 0 ? "?" : text.substr(0, size);
    text.remove_prefix(size == 0 ? 1 : size);
    if (fitting.size() + ellipsis.size() <= bytes) room_for_ellipsis = fitting.size();
    if (fitting.size() > bytes) return fitting.substr(0, room_for_ellipsis).append(ellipsis);
  }
  return fitting;
}

void refuse_long_text(const std::string& text, const char* column, size_t bytes, const std::string& row_name) {
  if (text.size() <= bytes) return;
  throw UsageError(fmt::format("{}: {} too long: {} bytes, at most {} fit into the results file", row_name, column,
                               text.size(), bytes));
}

}  // namespace recite
