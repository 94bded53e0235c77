#include "config/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text.h"

namespace recite {

namespace {

constexpr int64_t max_list_values = 100000;

// The whole of `text` as a number, or nothing.
template <class Number>
std::optional<Number> whole(const std::string& text) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || at != end) return std::nullopt;
  return value;
}

[[noreturn]] void not_allowed(const std::string& allowed) { throw UsageError(fmt::format("{} is wanted", allowed)); }

// "10", "10:20" or "10:100:10".
void append_range(const std::string& piece, Range range, std::vector<int>& values) {
  if (piece.find(' ') != std::string::npos) not_allowed("a comma between values, as in 5, 7, 10:100:10");
  const std::vector<std::string> parts = split(piece, ':');
  if (parts.empty() || parts.size() > 3) not_allowed("a number, or a range from:to or from:to:step");
  const int64_t from = read_integer(parts[0], range);
  const int64_t to = parts.size() > 1 ? read_integer(parts[1], range) : from;
  const int64_t step = parts.size() > 2 ? read_integer(parts[2], {1}) : 1;
  if (from > to) throw UsageError(fmt::format("range {}: {} is more than {}", piece, from, to));
  const int64_t steps = (to - from) / step;
  if ((to - from) % step != 0) {
    throw UsageError(
        fmt::format("range {}: steps of {} from {} miss {}, and both ends are included; end it at {} or {}", piece,
                    step, from, to, from + steps * step, from + (steps + 1) * step));
  }
  if (steps + static_cast<int64_t>(values.size()) >= max_list_values) {
    throw UsageError(fmt::format("range {}: more than {} values", piece, max_list_values));
  }
  for (int64_t value = from; value <= to; value += step) values.push_back(static_cast<int>(value));
}

// Values from `begin` on that rise by one step, at most to the end.
size_t progression_length(const std::vector<int>& values, size_t begin) {
  size_t end = begin + 1;
  if (end == values.size() || values[end] <= values[begin]) return 1;
  const int step = values[end] - values[begin];
  while (end < values.size() && values[end] - values[end - 1] == step) ++end;
  return end - begin;
}

}  // namespace

std::string describe(const std::string& kind, Range range) {
  // The limits of the types are no limits that a user meets.
  const bool low = std::isfinite(range.low), high = range.high < std::numeric_limits<int>::max();
  if (low && high) return fmt::format("{} in {}..{}", kind, range.low, range.high);
  if (low) return fmt::format("{} >= {}", kind, range.low);
  if (high) return fmt::format("{} <= {}", kind, range.high);
  return kind;
}

int64_t read_integer(const std::string& text, Range range) {
  const std::optional<int64_t> value = whole<int64_t>(text);
  if (!value || !range.holds(static_cast<double>(*value))) not_allowed(describe("an integer", range));
  return *value;
}

double read_number(const std::string& text, Range range) {
  const std::optional<double> value = whole<double>(text);
  if (!value || !std::isfinite(*value) || !range.holds(*value)) not_allowed(describe("a number", range));
  return *value;
}

double read_seconds(const std::string& text, Range range) {
  const size_t digits = std::min(text.find_first_not_of("0123456789.eE+-"), text.size());
  const std::string unit = trim(text.substr(digits));
  const std::optional<double> value = whole<double>(trim(text.substr(0, digits)));
  const double seconds = unit.empty() || unit == "s" ? 1 : unit == "min" ? 60 : unit == "h" ? 3600 : 0;
  if (!value || seconds == 0 || !std::isfinite(*value) || !range.holds(*value * seconds)) {
    not_allowed(describe("a time in s, min or h, of seconds", range));
  }
  return *value * seconds;
}

bool read_flag(const std::string& text) {
  std::string word = text;
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  if (word == "true" || word == "yes" || word == "on" || word == "1") return true;
  if (word == "false" || word == "no" || word == "off" || word == "0") return false;
  not_allowed("true or false");
}

std::vector<int> read_integers(const std::string& text, Range range) {
  std::vector<int> values;
  for (const std::string& piece : split(text, ',')) append_range(piece, range, values);
  return values;
}

std::vector<TaskKind> read_tasks(const std::string& text) {
  std::vector<TaskKind> tasks;
  for (const std::string& name : split(text, ',')) tasks.push_back(parse_name<TaskKind>(name));
  return tasks;
}

std::string write_number(double value) { return fmt::format("{}", value); }

std::string write_integers(const std::vector<int>& values) {
  std::vector<std::string> pieces;
  for (size_t i = 0; i < values.size();) {
    const size_t run = progression_length(values, i);
    if (run < 3) {
      pieces.push_back(std::to_string(values[i++]));
      continue;
    }
    pieces.push_back(fmt::format("{}:{}:{}", values[i], values[i + run - 1], values[i + 1] - values[i]));
    i += run;
  }
  return fmt::format("{}", fmt::join(pieces, ", "));
}

std::string write_tasks(const std::vector<TaskKind>& tasks) {
  std::vector<std::string_view> names;
  for (const TaskKind task : tasks) names.push_back(name_of(task));
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace recite
