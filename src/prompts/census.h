// Names of people, as frequent as in the 1990 census of the United States (data/README.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/philox.h"

namespace recite {

// Names and how often each is drawn.
class WeightedNames {
 public:
  // Lines of a weight and the names that have it.
  explicit WeightedNames(std::string_view lines);

  const std::string& draw(PhiloxStream& random) const;
  size_t size() const { return names_.size(); }

 private:
  std::vector<std::string> names_;
  std::vector<uint32_t> cumulative_;  // weights of the names up to each, itself included
};

// Each is read on the first call.
const WeightedNames& female_first_names();
const WeightedNames& male_first_names();
const WeightedNames& last_names();

// "First Last": a first name of women or of men, evenly, and a last name.
std::string draw_full_name(PhiloxStream& random);

}  // namespace recite
