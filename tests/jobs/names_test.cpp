#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "jobs/specs.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

template <class Enum>
void expect_every_name_read_back() {
  for (const std::string& name : names_of<Enum>()) EXPECT_EQ(name_of(parse_name<Enum>(name)), name);
}

TEST(Names, AreReadBack) {
  expect_every_name_read_back<Architecture>();
  expect_every_name_read_back<TaskKind>();
  expect_every_name_read_back<NgramKey>();
  expect_every_name_read_back<PackedState>();
  expect_every_name_read_back<ScoreQuirk>();
  expect_every_name_read_back<Precision>();
  expect_every_name_read_back<EvalMode>();
  expect_every_name_read_back<DeviceKind>();
  expect_every_name_read_back<TextOrder>();
  expect_every_name_read_back<DecodeCleanup>();
  expect_every_name_read_back<SquadNormalisation>();
}

TEST(Names, AreThoseOfTheSweepFile) {
  EXPECT_THAT(names_of<Architecture>(), ElementsAre("rope", "nope", "alibi", "hard_alibi", "mamba", "lstm"));
  EXPECT_THAT(names_of<TaskKind>(),
              ElementsAre("copy", "prefix_ngram", "suffix_ngram", "duplicate_ngram", "c4_copy", "phone_book", "squad"));
  EXPECT_THAT(names_of<Precision>(), ElementsAre("float32", "tf32", "bf16", "float64", "float16"));
  EXPECT_THAT(names_of<DeviceKind>(), ElementsAre("auto", "cpu", "cuda"));
}

TEST(Names, PublishedNamesAndAnyCaseAreTaken) {
  EXPECT_EQ(parse_name<Architecture>("T_rope"), Architecture::rope);
  EXPECT_EQ(parse_name<Architecture>("T_nope"), Architecture::nope);
  EXPECT_EQ(parse_name<Architecture>("T_alibi"), Architecture::alibi);
  EXPECT_EQ(parse_name<Architecture>("T_hard_alibi"), Architecture::hard_alibi);
  EXPECT_EQ(parse_name<Architecture>("Hard-ALiBi"), Architecture::hard_alibi);
  EXPECT_EQ(parse_name<Architecture>(" LSTM "), Architecture::lstm);
}

TEST(Names, UnknownOnesNameTheNearestAndTheAllowed) {
  try {
    parse_name<Architecture>("mabma");
    FAIL() << "taken";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("unknown model 'mabma'"), HasSubstr("did you mean 'mamba'"),
                                    HasSubstr("rope, nope, alibi, hard_alibi, mamba, lstm")));
  }
  EXPECT_THROW(parse_name<TaskKind>(""), UsageError);
}

}  // namespace
}  // namespace recite
