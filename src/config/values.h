// Values as users write them, and back: write_value(read_value(text)) gives the same value again.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "jobs/specs.h"

namespace recite {

// Both ends are allowed.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool holds(double value) const { return value >= low && value <= high; }
};

// "an integer >= 1", "a number in 0..1"
std::string describe(const std::string& kind, Range range);

// Each throws UsageError that says what is allowed. Lists: "1, 2, 3", ranges "from:to" and "from:to:step" with both
// ends included (a step that misses `to` is refused), or both mixed.
int64_t read_integer(const std::string& text, Range range);
double read_number(const std::string& text, Range range);
double read_seconds(const std::string& text, Range range);  // "60", "60 s", "5 min", "1.5 h"
bool read_flag(const std::string& text);                    // true false yes no on off 1 0
std::vector<int> read_integers(const std::string& text, Range range);
std::vector<TaskKind> read_tasks(const std::string& text);

std::string write_number(double value);                      // the shortest text that reads as the same number
std::string write_integers(const std::vector<int>& values);  // "1, 2, 3"; progressions of three or more as ranges
std::string write_tasks(const std::vector<TaskKind>& tasks);

}  // namespace recite
