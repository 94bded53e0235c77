#include "prompts/census.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace recite {

namespace {

constexpr std::string_view female_first =
#include "prompts/data/female_first_names.inc"
    ;
constexpr std::string_view male_first =
#include "prompts/data/male_first_names.inc"
    ;
constexpr std::string_view last =
#include "prompts/data/last_names.inc"
    ;

}  // namespace

WeightedNames::WeightedNames(std::string_view lines) {
  uint32_t total = 0;
  for (const std::string& line : split(trim(lines), '\n')) {
    std::vector<std::string> words = split(line, ' ');
    uint32_t weight = 0;
    std::from_chars(words[0].data(), words[0].data() + words[0].size(), weight);
    for (size_t i = 1; i < words.size(); ++i) {
      names_.push_back(std::move(words[i]));
      cumulative_.push_back(total += weight);
    }
  }
}

const std::string& WeightedNames::draw(PhiloxStream& random) const {
  const auto at = std::ranges::upper_bound(cumulative_, random.below(cumulative_.back()));
  return names_[at - cumulative_.begin()];
}

const WeightedNames& female_first_names() {
  static const WeightedNames names(female_first);
  return names;
}

const WeightedNames& male_first_names() {
  static const WeightedNames names(male_first);
  return names;
}

const WeightedNames& last_names() {
  static const WeightedNames names(last);
  return names;
}

std::string draw_full_name(PhiloxStream& random) {
  const WeightedNames& first = random.below(2) == 0 ? female_first_names() : male_first_names();
  const std::string name = first.draw(random);
  return name + " " + last_names().draw(random);
}

}  // namespace recite
