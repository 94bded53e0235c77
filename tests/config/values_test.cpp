#include "config/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "message.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(ReadIntegers, ListsAndRangesWithBothEnds) {
  EXPECT_THAT(read_integers("1, 2,3", {}), ElementsAre(1, 2, 3));
  EXPECT_THAT(read_integers("10:40:10", {}), ElementsAre(10, 20, 30, 40));
  EXPECT_THAT(read_integers("5:7", {}), ElementsAre(5, 6, 7));
  EXPECT_THAT(read_integers("3:3:10", {}), ElementsAre(3));
  EXPECT_THAT(read_integers("1, 10:30:10, 4", {}), ElementsAre(1, 10, 20, 30, 4));
  EXPECT_THAT(read_integers("", {}), IsEmpty());
}

TEST(ReadIntegers, ARangeThatMissesItsEndIsRefused) {
  EXPECT_THAT(refusal([] { read_integers("10:95:10", {}); }), AllOf(HasSubstr("miss 95"), HasSubstr("90 or 100")));
  EXPECT_THAT(refusal([] { read_integers("20:10", {}); }), HasSubstr("20 is more than 10"));
  EXPECT_THAT(refusal([] { read_integers("1:2:0", {}); }), HasSubstr(">= 1"));
  EXPECT_THAT(refusal([] { read_integers("1:2:3:4", {}); }), HasSubstr("from:to:step"));
  EXPECT_THAT(refusal([] { read_integers("1:1000000", {}); }), HasSubstr("more than 100000"));
  EXPECT_THAT(refusal([] { read_integers("1,,2", {}); }), testing::Ne("taken"));
}

TEST(WriteIntegers, IsReadBack) {
  for (const std::vector<int>& values :
       {std::vector<int>{}, {7}, {1, 2}, {1, 2, 3}, {10, 20, 30, 5}, {5, 4, 3}, {1, 1, 1}, {2, 4, 8, 16, 24, 32}}) {
    EXPECT_EQ(read_integers(write_integers(values), {}), values) << write_integers(values);
  }
  EXPECT_EQ(write_integers({10, 20, 30, 5}), "10:30:10, 5");
}

TEST(ReadNumber, TakesWholeFiniteNumbersInRange) {
  EXPECT_EQ(read_number("1e-5", {0}), 1e-5);
  EXPECT_EQ(read_integer("12", {1, 12}), 12);
  for (const char* bad : {"", "x", "1x", "nan", "inf", "-1", "1e400"}) {
    EXPECT_THAT(refusal([&] { read_number(bad, {0}); }), HasSubstr("a number >= 0")) << bad;
  }
  for (const char* bad : {"", "1.5", "13", "0", "99999999999999999999"}) {
    EXPECT_THAT(refusal([&] { read_integer(bad, {1, 12}); }), HasSubstr("an integer in 1..12")) << bad;
  }
}

TEST(WriteNumber, KeepsEveryBit) {
  for (const double value : {1e-5, 0.1, 0.1 + 0.2, 60.0, 1e300}) EXPECT_EQ(read_number(write_number(value), {}), value);
}

TEST(ReadSeconds, TakesUnits) {
  EXPECT_EQ(read_seconds("60", {0}), 60);
  EXPECT_EQ(read_seconds("60 s", {0}), 60);
  EXPECT_EQ(read_seconds("1.5min", {0}), 90);
  EXPECT_EQ(read_seconds("2 h", {0}), 7200);
  for (const char* bad : {"", "s", "60 m", "60 parsecs", "-1 s"}) {
    EXPECT_THAT(refusal([&] { read_seconds(bad, {0}); }), HasSubstr("s, min or h")) << bad;
  }
}

TEST(ReadFlag, TakesTheUsualWords) {
  for (const char* yes : {"true", "Yes", "on", "1"}) EXPECT_TRUE(read_flag(yes));
  for (const char* no : {"false", "NO", "off", "0"}) EXPECT_FALSE(read_flag(no));
  EXPECT_THAT(refusal([] { read_flag("maybe"); }), HasSubstr("true or false"));
}

}  // namespace
}  // namespace recite
