#include "base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace recite {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Text, TrimTakesWhiteSpaceFromBothEnds) {
  EXPECT_EQ(trim("  two words\t\r\n"), "two words");
  EXPECT_EQ(trim("word"), "word");
  EXPECT_EQ(trim(" \n "), "");
  EXPECT_EQ(trim(""), "");
}

TEST(Text, SplitTrimsThePiecesAndKeepsEmptyOnes) {
  EXPECT_THAT(split("1, 2 ,3", ','), ElementsAre("1", "2", "3"));
  EXPECT_THAT(split("one", ','), ElementsAre("one"));
  EXPECT_THAT(split("a,,b,", ','), ElementsAre("a", "", "b", ""));
  EXPECT_THAT(split("10:100:10", ':'), ElementsAre("10", "100", "10"));
  EXPECT_THAT(split("  ", ','), IsEmpty());
  EXPECT_THAT(split("", ','), IsEmpty());
}

TEST(Text, NearestFindsASlip) {
  const std::vector<std::string> names = {"steps", "batch_size", "learning_rate", "max_length"};
  EXPECT_EQ(nearest("step", names), "steps");
  EXPECT_EQ(nearest("stesp", names), "steps");
  EXPECT_EQ(nearest("batchsize", names), "batch_size");
  EXPECT_EQ(nearest("min_length", names), "max_length");
}

TEST(Text, NearestTakesCaseAndDashesForEqual) {
  EXPECT_EQ(nearest("LEARNING-RATE", {"learning_rote", "learning_rate"}), "learning_rate");
}

TEST(Text, NearestFindsANameWithoutItsSection) {
  EXPECT_EQ(nearest("learning_rat", {"train.steps", "train.learning_rate"}), "train.learning_rate");
}

TEST(Text, NearestPrefersTheFirstOfEquals) { EXPECT_EQ(nearest("bat", {"cat", "hat"}), "cat"); }

TEST(Text, NearestGivesNothingForAnotherWord) {
  EXPECT_EQ(nearest("wavelength", {"steps", "seed"}), std::nullopt);
  EXPECT_EQ(nearest("steps", {}), std::nullopt);
}

TEST(Text, DidYouMeanIsPartOfASentenceOrNothing) {
  EXPECT_EQ(did_you_mean("mambo", {"rope", "mamba"}), " (did you mean 'mamba'?)");
  EXPECT_EQ(did_you_mean("wavelength", {"rope", "mamba"}), "");
}

TEST(Text, WithPrefixKeepsThreeOrFourDigits) {
  EXPECT_EQ(with_prefix(0), "0");
  EXPECT_EQ(with_prefix(12), "12");
  EXPECT_EQ(with_prefix(999), "999");
  EXPECT_EQ(with_prefix(1200), "1.2 k");
  EXPECT_EQ(with_prefix(999'999), "1.0 M");
  EXPECT_EQ(with_prefix(151'200'000), "151.2 M");
  EXPECT_EQ(with_prefix(3.5e9), "3.5 G");
  EXPECT_EQ(with_prefix(-1200), "-1.2 k");
}

TEST(Text, DurationGrowsFromSecondsToHours) {
  EXPECT_EQ(duration(0.25), "0.2 s");
  EXPECT_EQ(duration(12), "12 s");
  EXPECT_EQ(duration(59.6), "1 min 00 s");
  EXPECT_EQ(duration(185), "3 min 05 s");
  EXPECT_EQ(duration(2 * 3600 + 7 * 60 + 30), "2 h 07 min");
  EXPECT_EQ(duration(-1), "?");
  EXPECT_EQ(duration(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(duration(std::numeric_limits<double>::quiet_NaN()), "?");
}

TEST(Text, BytesUseBinaryUnits) {
  EXPECT_EQ(bytes(0), "0 B");
  EXPECT_EQ(bytes(1023), "1023 B");
  EXPECT_EQ(bytes(1024), "1 KiB");
  EXPECT_EQ(bytes(812.0 * (1 << 20)), "812 MiB");
  EXPECT_EQ(bytes(1.4 * (1 << 30)), "1.4 GiB");
  EXPECT_EQ(bytes(1024.0 * (1 << 20) - 1), "1.0 GiB");
}

}  // namespace
}  // namespace recite
