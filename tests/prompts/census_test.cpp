#include "prompts/census.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <sstream>

namespace recite {
namespace {

constexpr int draws = 200000;

PhiloxStream stream(uint64_t name) { return {Purpose::sample, 1, {name}}; }

std::map<std::string, int> drawn(const WeightedNames& names, uint64_t name) {
  PhiloxStream random = stream(name);
  std::map<std::string, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[names.draw(random)];
  return counts;
}

// Of the census: percent of the people in the list.
void expect_frequency(const std::map<std::string, int>& counts, const std::string& name, double percent,
                      double covered) {
  const double share = percent / covered;
  const double expected = draws * share;
  EXPECT_NEAR(counts.at(name), expected, 5 * std::sqrt(expected * (1 - share))) << name;
}

TEST(Census, HasTheListsOfTheBureau) {
  EXPECT_EQ(female_first_names().size(), 4275u);
  EXPECT_EQ(male_first_names().size(), 1219u);
  EXPECT_EQ(last_names().size(), 18839u);
}

TEST(Census, DrawsThePublishedFrequencies) {
  const auto female = drawn(female_first_names(), 1);
  for (const auto& [name, percent] :
       {std::pair{"Mary", 2.629}, {"Patricia", 1.073}, {"Linda", 1.035}, {"Barbara", 0.980}})
    expect_frequency(female, name, percent, 89.94);
  const auto male = drawn(male_first_names(), 2);
  for (const auto& [name, percent] :
       {std::pair{"James", 3.318}, {"John", 3.271}, {"Robert", 3.143}, {"Michael", 2.629}})
    expect_frequency(male, name, percent, 90.052);
  const auto last = drawn(last_names(), 3);
  for (const auto& [name, percent] :
       {std::pair{"Smith", 1.006}, {"Johnson", 0.810}, {"Williams", 0.699}, {"Brown", 0.621}})
    expect_frequency(last, name, percent, 79.59);
}

// Every name of a list, by Pearson's chi square: mean = degrees of freedom, variance twice that.
TEST(Census, DrawsEveryNameByItsWeight) {
  std::ostringstream lines;
  std::map<std::string, int> weights;
  for (int i = 1; i <= 200; ++i) {
    const std::string name = "N" + std::to_string(i);
    weights[name] = i % 7 + 1;
    lines << weights[name] << ' ' << name << (i % 3 == 0 ? " M" + std::to_string(i) : "") << '\n';
    if (i % 3 == 0) weights["M" + std::to_string(i)] = weights[name];
  }
  const WeightedNames names(lines.str());
  EXPECT_EQ(names.size(), weights.size());
  auto counts = drawn(names, 4);
  EXPECT_EQ(counts.size(), weights.size());
  double total = 0;
  for (const auto& [name, weight] : weights) total += weight;
  double chi_square = 0;
  for (const auto& [name, weight] : weights) {
    const double expected = draws * weight / total;
    chi_square += std::pow(counts[name] - expected, 2) / expected;
  }
  const double freedom = static_cast<double>(weights.size()) - 1;
  EXPECT_NEAR(chi_square, freedom, 5 * std::sqrt(2 * freedom));
}

TEST(Census, HalfOfTheFirstNamesAreWomens) {
  PhiloxStream random = stream(5);
  int mary = 0, james = 0;
  for (int i = 0; i < draws; ++i) {
    const std::string name = draw_full_name(random);
    mary += name.starts_with("Mary ");
    james += name.starts_with("James ");
  }
  // Each list has a few of the other's names.
  const double of_mary = (2.629 / 89.94 + 0.009 / 90.052) / 2, of_james = (3.318 / 90.052 + 0.010 / 89.94) / 2;
  EXPECT_NEAR(mary, draws * of_mary, 5 * std::sqrt(draws * of_mary));
  EXPECT_NEAR(james, draws * of_james, 5 * std::sqrt(draws * of_james));
}

}  // namespace
}  // namespace recite
