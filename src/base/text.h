// Small helpers on text that several rooms need.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace recite {

std::string trim(std::string_view text);

// Splits at `separator` and trims each piece; an empty text has no pieces.
std::vector<std::string> split(std::string_view text, char separator);

// The candidate nearest to `word` by edit distance (case ignored, '-' and '_' equal), if it is near enough to be meant.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

// " (did you mean 'steps'?)", or "" when nothing is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

// "1.2 k", "151.2 M": three digits and a decimal prefix.
std::string with_prefix(double value);

// "12 s", "3 min 05 s", "2 h 07 min"; "?" when not finite.
std::string duration(double seconds);

// "1 job", "2 jobs".
std::string counted(int64_t count, std::string_view noun);

// "812 MiB", "1.4 GiB".
std::string bytes(double count);

}  // namespace recite
