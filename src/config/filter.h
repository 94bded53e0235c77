// Conditions on jobs: "model=lstm, max_length=300", for sweep.exclude and sweep.only.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/options.h"

namespace recite {

class Filter {
 public:
  // Scalar options by full name, published name, or a key that only one section has. Throws UsageError, which begins
  // with `place`, for anything else and for a value that the option does not take.
  Filter(const std::string& text, const std::string& place);

  // Every part holds.
  bool matches(const Settings& settings) const;
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::vector<std::pair<const Option*, std::string>> parts_;  // option, value as the option writes it
};

}  // namespace recite
