#include "base/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <set>
#include <vector>

namespace recite {
namespace {

using Block = std::array<uint32_t, 4>;

// The published known-answer vectors of Random123 for philox4x32 with 10 rounds.
TEST(Philox, GivesThePublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

Block first_numbers(PhiloxStream stream) { return {stream.next(), stream.next(), stream.next(), stream.next()}; }

TEST(PhiloxStream, OfTheSameNameGivesTheSameNumbers) {
  PhiloxStream a(Purpose::training_string, 7, {3, 4});
  PhiloxStream b(Purpose::training_string, 7, {3, 4});
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(a.next(), b.next()) << i;
}

TEST(PhiloxStream, DiffersByEachPartOfItsName) {
  constexpr Purpose training = Purpose::training_string;
  const std::vector<Block> blocks = {
      first_numbers({training, 0, {}}),
      first_numbers({training, 0, {0}}),
      first_numbers({training, 0, {0, 0}}),
      first_numbers({training, 0, {0, 1}}),
      first_numbers({training, 0, {1, 0}}),
      first_numbers({training, 1, {0, 0}}),
      first_numbers({training, 1, {0, 1}}),
      first_numbers({training, uint64_t{1} << 32, {0, 0}}),
      first_numbers({training, 0, {uint64_t{1} << 32, 0}}),
      first_numbers({training, 0, {0, uint64_t{1} << 63}}),
      first_numbers({Purpose::evaluation_string, 0, {0, 0}}),
      first_numbers({Purpose::dropout_mask, 0, {0, 0}}),
  };
  EXPECT_EQ(std::set<Block>(blocks.begin(), blocks.end()).size(), blocks.size());
}

TEST(PhiloxStream, DiffersBetweenManyNeighbouringNames) {
  std::set<Block> blocks;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (uint64_t step = 0; step < 40; ++step) {
      for (uint64_t row = 0; row < 40; ++row) {
        blocks.insert(first_numbers({Purpose::training_string, seed, {step, row}}));
      }
    }
  }
  EXPECT_EQ(blocks.size(), 10u * 40 * 40);
}

double chi_square(const std::vector<int>& counts, double expected) {
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// Counts of `bin()` over `draws` calls. The limit is five standard deviations above the mean of chi-square.
void expect_uniform(int bins, int draws, const std::function<uint32_t()>& bin) {
  std::vector<int> counts(bins);
  for (int i = 0; i < draws; ++i) ++counts.at(bin());
  const double freedom = bins - 1;
  EXPECT_LT(chi_square(counts, static_cast<double>(draws) / bins), freedom + 5 * std::sqrt(2 * freedom));
}

TEST(PhiloxStream, BelowIsUniform) {
  for (const uint32_t bound : {2u, 7u, 26u, 1000u}) {
    PhiloxStream stream(Purpose::sample, bound, {});
    expect_uniform(static_cast<int>(bound), 100'000, [&] { return stream.below(bound); });
  }
}

// 3 * 2^30 outcomes of 2^32 numbers: without rejection each third outcome would come twice as often.
TEST(PhiloxStream, BelowIsUnbiasedForLargeBounds) {
  PhiloxStream stream(Purpose::sample, 1, {});
  expect_uniform(3, 100'000, [&] { return stream.below(3u << 30) % 3; });
  expect_uniform(3, 100'000, [&] { return stream.below(3u << 30) >> 30; });
}

TEST(PhiloxStream, BelowOneIsZero) {
  PhiloxStream stream(Purpose::sample, 2, {});
  for (int i = 0; i < 100; ++i) EXPECT_EQ(stream.below(1), 0u);
}

TEST(PhiloxStream, SuccessiveNumbersAreIndependent) {
  PhiloxStream stream(Purpose::sample, 3, {});
  uint32_t last = stream.next() >> 29;
  expect_uniform(64, 100'000, [&] {
    const uint32_t current = stream.next() >> 29;
    const uint32_t pair = last << 3 | current;
    last = current;
    return pair;
  });
}

// The first letters of the rows of one step, each from a stream of its own, must be as random as one stream.
TEST(PhiloxStream, FirstNumbersOfNeighbouringStreamsAreIndependent) {
  uint64_t row = 0;
  const auto first = [&] { return PhiloxStream(Purpose::training_string, 0, {0, row++}).next() >> 29; };
  expect_uniform(64, 100'000, [&] {
    const uint32_t high = first();
    return high << 3 | first();
  });
}

TEST(PhiloxStream, UniformFillsTheUnitInterval) {
  PhiloxStream stream(Purpose::sample, 4, {});
  expect_uniform(100, 100'000, [&] {
    const double value = stream.uniform();
    EXPECT_GE(value, 0);
    EXPECT_LT(value, 1);
    return static_cast<uint32_t>(value * 100);
  });
  // All 53 bits are random, the lowest ones too.
  expect_uniform(8, 10'000, [&] { return static_cast<uint32_t>(std::fmod(stream.uniform() * 0x1p53, 8)); });
}

TEST(PhiloxStream, NormalHasTheQuantilesOfTheNormalDistribution) {
  PhiloxStream stream(Purpose::initial_weight, 5, {});
  expect_uniform(50, 100'000, [&] {
    const double below = 0.5 * std::erfc(-stream.normal() / std::sqrt(2.0));
    return std::min(static_cast<uint32_t>(below * 50), 49u);
  });
  double sum = 0;
  double squares = 0;
  constexpr int draws = 100'000;
  for (int i = 0; i < draws; ++i) {
    const double value = stream.normal();
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / draws, 0, 5 / std::sqrt(draws));
  EXPECT_NEAR(squares / draws, 1, 5 * std::sqrt(2.0 / draws));
}

}  // namespace
}  // namespace recite
