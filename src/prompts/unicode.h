// Text by code points, with the classes and the lower case of Python's `str`: the published scores are defined by it.
#pragma once

#include <string>
#include <string_view>

namespace recite {

// Bytes that are no UTF-8 become U+FFFD each.
std::u32string code_points(std::string_view utf8);
std::string utf8_of(std::u32string_view points);
bool is_utf8(std::string_view text);

bool is_space(char32_t point);  // what str.strip() and str.split() take away
bool is_word(char32_t point);   // what `\w` matches, but for '_': letters and numbers, no combining marks

std::string strip(std::string_view text);  // without spaces at its ends

// Each point's own lower case; U+0130 becomes i and U+0307, and a sigma that ends a word the final one.
std::u32string lower(std::u32string_view text);

}  // namespace recite
