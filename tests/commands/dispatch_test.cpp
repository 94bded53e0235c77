#include <gmock/gmock.h>

#include "base/build_info.h"
#include "captured.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Program, WithoutAVerbShowsWhatThereIs) {
  EXPECT_EQ(ran({}).code, 2);
  EXPECT_THAT(ran({}).out, HasSubstr("Usage: recite VERB"));
  EXPECT_EQ(ran({"--help"}).code, 0);
  EXPECT_EQ(ran({"--help"}).out, ran({"help"}).out);
}

TEST(Program, NamesTheNearestVerb) {
  const Ran tried = ran({"sweeep", "a.ini"});
  EXPECT_EQ(tried.code, 2);
  EXPECT_THAT(tried.err, AllOf(HasSubstr("recite sweeep: unknown verb 'sweeep'"), HasSubstr("did you mean 'sweep'")));
  EXPECT_EQ(ran({"help", "plna"}).code, 2);
}

TEST(Program, WrongUseIsExitCode2WithTheVerb) {
  const Ran tried = ran({"plan"});
  EXPECT_EQ(tried.code, 2);
  EXPECT_THAT(tried.err, HasSubstr("recite plan: FILE is missing"));
}

TEST(Version, NamesBuildAndLibraries) {
  const Ran asked = ran({"version"});
  EXPECT_EQ(asked.code, 0);
  EXPECT_THAT(asked.out, AllOf(HasSubstr(build_info().version), HasSubstr("LibTorch 2."), HasSubstr("Open MPI v5"),
                               HasSubstr("HDF5"), HasSubstr("Boost 1.")));
  EXPECT_EQ(ran({"--version"}).out, asked.out);
}

TEST(Doctor, FindsNothingFailedHere) {
  const Ran asked = ran({"doctor"});
  EXPECT_EQ(asked.code, 0) << asked.out;
  EXPECT_THAT(asked.out, Not(HasSubstr("failed")));
  for (const char* check : {"LibTorch", "GPU", "MPI", "results", "cores", "memory", "clock"}) {
    EXPECT_THAT(asked.out, HasSubstr(check));
  }
}

TEST(Doctor, SaysWhatToDoWhenResultsCannotBeWritten) {
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before ? before : "";
  setenv("TMPDIR", "/no/such/folder", 1);
  const Ran asked = ran({"doctor"});
  before ? setenv("TMPDIR", kept.c_str(), 1) : unsetenv("TMPDIR");
  EXPECT_EQ(asked.code, 1);
  EXPECT_THAT(asked.out, AllOf(HasSubstr("failed   results"), HasSubstr("TMPDIR")));
}

}  // namespace
}  // namespace recite
