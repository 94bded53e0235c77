#include "results/rows.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "known_rows.h"
#include "results/reader.h"

namespace recite {
namespace {

TEST(Rows, StatesHaveNames) {
  for (const char* name : {"planned", "running", "done", "failed", "stopped", "lost"}) {
    EXPECT_EQ(name_of(parse_job_state(name)), name);
  }
  EXPECT_EQ(parse_job_state("failed"), JobState::failed);
  EXPECT_THROW(parse_job_state("Done"), Error);
  EXPECT_THROW(parse_job_state(""), Error);
}

template <class Row>
Row through_message_pack(const Row& row) {
  return nlohmann::json::from_msgpack(nlohmann::json::to_msgpack(nlohmann::json(row))).template get<Row>();
}

template <class Row>
Row through_text(const Row& row) {
  return nlohmann::json::parse(nlohmann::json(row).dump()).template get<Row>();
}

TEST(Rows, JsonKeepsEveryColumnAndNaN) {
  for (int k = 0; k < 20; ++k) {
    EXPECT_TRUE(same(through_message_pack(known_evaluation(k)), known_evaluation(k)));
    EXPECT_TRUE(same(through_message_pack(known_training(k)), known_training(k)));
    EXPECT_TRUE(same(through_text(known_evaluation(k)), known_evaluation(k)));
    EXPECT_TRUE(same(through_text(known_training(k)), known_training(k)));
  }
  EXPECT_EQ(nlohmann::json(known_training(1)).at("try"), 1);
}

TEST(Rows, JsonWithoutAColumnIsRefused) {
  nlohmann::json json = known_training(0);
  json.erase("loss");
  EXPECT_THROW(json.get<TrainingRow>(), nlohmann::json::exception);
}

EventRow event(int job, int attempt, double time, JobState state) {
  return {.job = job, .attempt = attempt, .time = time, .state = state};
}

TEST(Views, StateIsThatOfTheLastEvent) {
  ResultsContents contents;
  contents.jobs = {known_job(0), known_job(1), known_job(2)};
  contents.events = {event(-1, 0, 1, JobState::running), event(0, 1, 2, JobState::running),
                     event(1, 1, 3, JobState::running),  event(0, 1, 4, JobState::lost),
                     event(0, 2, 5, JobState::running),  event(1, 1, 6, JobState::done),
                     event(-1, 0, 7, JobState::stopped)};
  const std::vector<JobView> views = job_views(contents);
  ASSERT_EQ(views.size(), 3U);
  EXPECT_EQ(views[0].last.state, JobState::running);
  EXPECT_EQ(views[0].attempts, 2);
  EXPECT_EQ(views[0].started, 5);
  EXPECT_EQ(views[1].last.state, JobState::done);
  EXPECT_EQ(views[1].attempts, 1);
  EXPECT_EQ(views[1].started, 3);
  EXPECT_TRUE(views[1].done);
  EXPECT_FALSE(views[0].done || views[2].done);
  EXPECT_EQ(views[2].last.state, JobState::planned);
  EXPECT_EQ(views[2].last.job, 2);
  EXPECT_EQ(views[2].attempts, 0);
  EXPECT_EQ(views[2].started, 0);
}

TEST(Views, AJobIsDoneUntilATryBeginsAgain) {
  ResultsContents contents;
  contents.jobs = {known_job(0)};
  contents.events = {event(0, 1, 1, JobState::running), event(0, 1, 2, JobState::done),
                     event(0, 1, 3, JobState::planned)};
  EXPECT_TRUE(job_views(contents)[0].done);
  EXPECT_EQ(job_views(contents)[0].last.state, JobState::planned);
  contents.events.push_back(event(0, 2, 4, JobState::running));
  EXPECT_FALSE(job_views(contents)[0].done);
}

EvaluationRow point(int attempt, int64_t step, int length, double accuracy) {
  EvaluationRow row = known_evaluation(0);
  row.attempt = attempt;
  row.step = step;
  row.length = length;
  row.string_accuracy = accuracy;
  return row;
}

TEST(Views, OfEachPointTheHighestTryCountsThenTheLast) {
  ResultsContents contents;
  contents.evaluations = {point(2, 100, 10, 0.1), point(1, 100, 10, 0.2), point(1, 100, 20, 0.3),
                          point(2, 200, 10, 0.4), point(2, 200, 10, 0.5)};
  const std::vector<EvaluationRow> rows = current_evaluations(contents);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].string_accuracy, 0.1);
  EXPECT_EQ(rows[1].string_accuracy, 0.3);
  EXPECT_EQ(rows[2].string_accuracy, 0.5);
}

TEST(Views, PointsThatDifferInAnyPartOfTheKeyAreSeveral) {
  ResultsContents contents;
  contents.evaluations.assign(7, point(1, 100, 10, 0.5));
  contents.evaluations[1].job = 9;
  contents.evaluations[2].step = 9;
  contents.evaluations[3].task = "copy";
  contents.evaluations[4].n_gram = 9;
  contents.evaluations[5].length = 9;
  contents.evaluations[6].mode = "greedy";
  EXPECT_EQ(current_evaluations(contents).size(), 7U);
}

TEST(Views, TrainingStepsOfAResumedJobCountOnce) {
  ResultsContents contents;
  for (const int attempt : {1, 2}) {
    for (int step = attempt; step <= 3; ++step) {
      TrainingRow row = known_training(step);
      row.job = 0;
      row.attempt = attempt;
      contents.training.push_back(row);
    }
  }
  const std::vector<TrainingRow> rows = current_training(contents);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].attempt, 1);
  EXPECT_EQ(rows[1].attempt, 2);
  EXPECT_EQ(rows[2].attempt, 2);
}

}  // namespace
}  // namespace recite
