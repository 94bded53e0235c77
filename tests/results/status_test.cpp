#include "commands/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "commands/commands.h"
#include "known_rows.h"
#include "results/writer.h"
#include "support/temporary_folder.h"

namespace recite {
namespace {

using testing::HasSubstr;
using testing::Not;

JobRow job(int number, const std::string& model) {
  return {.job = number,
          .id = std::to_string(number),
          .model = model,
          .task = "copy",
          .train_min_length = 5,
          .train_max_length = 50,
          .seed = 3,
          .spec = R"({"train":{"steps":1000,"epochs":2,"batch_size":64,"context_length":220}})"};
}

EventRow event(int number, double time, JobState state) {
  return {.job = number, .attempt = 1, .run = 0, .time = time, .state = state, .host = "node2"};
}

// Done in 100 s; running at step 500 of 2000; failed; not begun.
ResultsContents four_jobs() {
  ResultsContents contents;
  contents.name = "trial";
  contents.runs = {{.run = 0, .time = 1000, .hosts = "node1:2", .workers = 2}};
  contents.jobs = {job(0, "rope"), job(1, "mamba"), job(2, "lstm"), job(3, "nope")};
  contents.events = {event(-1, 1000, JobState::running), event(0, 1000, JobState::running),
                     event(0, 1100, JobState::done),     event(1, 1100, JobState::running),
                     event(2, 1100, JobState::running),  event(2, 1150, JobState::failed)};
  contents.events.back().message = "loss is not finite at step 12";
  contents.training = {{.job = 1, .attempt = 1, .step = 400, .loss = 2.5, .tokens_per_second = 1e5},
                       {.job = 1, .attempt = 1, .step = 500, .loss = 1.25, .tokens_per_second = 140'800}};
  EvaluationRow point = known_evaluation(0);
  point.job = 1;
  point.task = "copy";
  point.length = 20;
  point.string_accuracy = 0.875;
  contents.evaluations = {point};
  return contents;
}

std::string printed(const ResultsContents& contents, bool live) {
  std::ostringstream out;
  print_status(out, contents, "trial.h5", live, 1200);
  return out.str();
}

TEST(Status, SaysWhatEachJobIsAt) {
  const std::string text = printed(four_jobs(), true);
  EXPECT_THAT(text, HasSubstr("trial.h5: trial, run 1 begun 3 min 20 s ago with 2 workers on node1:2"));
  EXPECT_THAT(text, HasSubstr("4 jobs: 1 done 1 running 1 planned 1 failed"));
  EXPECT_THAT(text, HasSubstr("mamba copy 5..50 seed 3"));
  EXPECT_THAT(text, HasSubstr("500/2000"));
  EXPECT_THAT(text, HasSubstr("1.2500"));
  EXPECT_THAT(text, HasSubstr("0.875 (copy 20)"));
  // 1500 steps of 64 * 220 tokens at 140 800 tokens/s
  EXPECT_THAT(text, HasSubstr("2 min 30 s"));
  // two jobs unfinished, one runs at a time, the one done took 100 s
  EXPECT_THAT(text, HasSubstr("about 3 min 20 s left"));
}

TEST(Status, SaysWhyAJobFailedAndWhereItsLogIs) {
  EXPECT_THAT(printed(four_jobs(), true),
              HasSubstr("job 2 failed (lstm copy 5..50 seed 3) after 1 try on node2:\n"
                        "  loss is not finite at step 12\n  logs: trial.h5.logs/node2-*.log"));
  ResultsContents contents = four_jobs();
  contents.events.back().message = "out of memory (log: trial.h5.logs/node2-3.log)";
  EXPECT_THAT(printed(contents, true), Not(HasSubstr("node2-*.log")));
}

TEST(Status, JobsThatWereRunningWhenTheWriterDiedAreToBeRun) {
  const std::string text = printed(four_jobs(), false);
  EXPECT_THAT(text, HasSubstr("nothing is writing it now"));
  EXPECT_THAT(text, HasSubstr("4 jobs: 1 done 2 planned 1 failed\n"));
}

TEST(Status, VerdictFollowsTheJobs) {
  ResultsContents contents = four_jobs();
  EXPECT_EQ(sweep_verdict(contents), ExitCode::stopped);
  contents.events.push_back(event(1, 1300, JobState::done));
  EXPECT_EQ(sweep_verdict(contents), ExitCode::stopped);
  contents.events.push_back(event(3, 1300, JobState::done));
  EXPECT_EQ(sweep_verdict(contents), ExitCode::jobs_failed);
  contents.events.push_back(event(2, 1300, JobState::done));
  EXPECT_EQ(sweep_verdict(contents), ExitCode::done);
  EXPECT_EQ(sweep_verdict(ResultsContents{}), ExitCode::stopped);
}

TEST(Status, VerdictOfARunThatWasAskedForSomeJobsIsThatRuns) {
  ResultsContents contents = four_jobs();
  contents.events.push_back(event(-1, 1300, JobState::done));
  EXPECT_EQ(sweep_verdict(contents), ExitCode::done);
  contents.events.push_back(event(-1, 1300, JobState::failed));
  EXPECT_EQ(sweep_verdict(contents), ExitCode::jobs_failed);
  contents.events.push_back(event(-1, 1300, JobState::stopped));
  EXPECT_EQ(sweep_verdict(contents), ExitCode::stopped);
  // A later run that wrote no event yet: what the one before it said is past.
  contents.events.push_back(event(-1, 1300, JobState::done));
  contents.runs.push_back({.run = 1});
  EXPECT_EQ(sweep_verdict(contents), ExitCode::stopped);
}

TEST(Status, ReadsTheFileAndIsQuietWhenAsked) {
  const TemporaryFolder folder;
  const std::string path = folder / "trial.h5";
  {
    ResultsWriter writer(path, "trial");
    writer.add_run({});
    writer.add_job(job(0, "rope"));
    writer.append(event(0, 1, JobState::running));
    std::ostringstream out;
    EXPECT_EQ(run_status(path, false, out), 75);
    EXPECT_THAT(out.str(), HasSubstr("1 job: 1 running"));
    writer.append(event(0, 2, JobState::done));
  }
  std::ostringstream out;
  EXPECT_EQ(run_status(path, true, out), 0);
  EXPECT_EQ(out.str(), "");
  EXPECT_EQ(status_command({path, "--quiet"}), 0);
  EXPECT_EQ(status_command({path, "--quiet", "--watch", "3600"}), 0) << "nothing is written any more";
  EXPECT_THROW(run_status(folder / "none.h5", true, out), UsageError);
}

}  // namespace
}  // namespace recite
