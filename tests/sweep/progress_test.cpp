#include "sweep/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace recite {
namespace {

using ::testing::HasSubstr;

SweepSnapshot snapshot() {
  SweepSnapshot s;
  s.planned = 2;
  s.running = 1;
  s.done = 5;
  s.failed = 2;
  s.workers = 3;
  s.elapsed = 61;
  s.seconds_left = 3600;
  s.jobs = {{"mamba copy", "training", 50, 200, 1.25, 0.5, 12345, 90}};
  return s;
}

TEST(Progress, SaysStatesRatesAndTimeLeft) {
  const std::vector<std::string> lines = progress_lines(snapshot(), 200);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[0], HasSubstr("7/10 jobs"));
  EXPECT_THAT(lines[0], HasSubstr("1 running, 2 planned, 2 failed"));
  EXPECT_THAT(lines[0], HasSubstr("1 min 01 s, about 1 h 00 min left"));
  EXPECT_THAT(lines[1], HasSubstr("mamba copy"));
  EXPECT_THAT(lines[1], HasSubstr("50/200"));
  EXPECT_THAT(lines[1], HasSubstr("loss 1.2500"));
  EXPECT_THAT(lines[1], HasSubstr("acc 0.500"));
  EXPECT_THAT(lines[1], HasSubstr("12.3 k tok/s"));
  EXPECT_THAT(lines[1], HasSubstr("1 min 30 s left"));
}

TEST(Progress, LeavesOutWhatIsNotKnown) {
  SweepSnapshot s = snapshot();
  s.seconds_left = not_measured;
  s.jobs[0].loss = s.jobs[0].seconds_left = not_measured;
  const std::vector<std::string> lines = progress_lines(s, 200);
  EXPECT_THAT(lines[0], ::testing::Not(HasSubstr("left")));
  EXPECT_THAT(lines[1], HasSubstr("loss -"));
  EXPECT_THAT(lines[1], ::testing::Not(HasSubstr("nan")));
}

TEST(Progress, FitsTheTerminal) {
  for (const std::string& line : progress_lines(snapshot(), 40)) EXPECT_LE(line.size(), 40U);
}

TEST(Progress, RedrawsItsBlockOnATerminalOnly) {
  std::ostringstream terminal;
  {
    ProgressView view(terminal, 80);
    view.update(snapshot());
    EXPECT_THAT(terminal.str(), ::testing::Not(HasSubstr("\x1b")));
    view.update(snapshot());
    EXPECT_THAT(terminal.str(), HasSubstr("\x1b[2A\x1b[J"));
    view.say("done");
  }
  EXPECT_THAT(terminal.str(), HasSubstr("\x1b[2A\x1b[Jdone\n"));

  std::ostringstream plain;
  {
    ProgressView view(plain, 0);
    view.update(snapshot());
    view.update(snapshot());
  }
  EXPECT_THAT(plain.str(), ::testing::Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace recite
