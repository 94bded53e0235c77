#include "sweep/ledger.h"

#include <gtest/gtest.h>

namespace recite {
namespace {

LedgerEntry planned(int32_t row, int ranks = 1) {
  LedgerEntry entry;
  entry.job.ranks = ranks;
  entry.job.train.batch_size = 8;
  entry.row = row;
  return entry;
}

Ledger ledger_of(int jobs, int workers, int ranks = 1, int max_tries = 3) {
  std::vector<LedgerEntry> entries;
  for (int row = 0; row < jobs; ++row) entries.push_back(planned(row, ranks));
  Ledger ledger(std::move(entries), max_tries);
  for (int rank = 1; rank <= workers; ++rank) ledger.worker_arrived(rank);
  return ledger;
}

TryEnded word(const TryId& id, JobState state, const std::string& message = "") { return {id, state, 7, message}; }

TEST(Ledger, StartsJobsInOrderOnIdleWorkers) {
  Ledger ledger = ledger_of(3, 2);
  const auto first = ledger.start_next();
  const auto second = ledger.start_next();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->id, (TryId{0, 1}));
  EXPECT_EQ(first->ranks, std::vector<int>{1});
  EXPECT_EQ(second->ranks, std::vector<int>{2});
  EXPECT_FALSE(ledger.start_next()) << "no worker is idle";

  const auto verdict = ledger.try_ended(1, word(first->id, JobState::done));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->state, JobState::done);
  EXPECT_EQ(verdict->step, 7);
  const auto third = ledger.start_next();
  ASSERT_TRUE(third);
  EXPECT_EQ(third->id.job, 2);
  EXPECT_EQ(third->ranks, std::vector<int>{1});
  EXPECT_FALSE(ledger.finished());
  ledger.try_ended(2, word(second->id, JobState::done));
  ledger.try_ended(1, word(third->id, JobState::done));
  EXPECT_TRUE(ledger.finished());
  EXPECT_EQ(ledger.count(JobState::done), 3);
}

TEST(Ledger, GroupEndsWhenEveryRankHasAndTheWorstWordCounts) {
  Ledger ledger = ledger_of(1, 3, 3);
  const auto given = ledger.start_next();
  ASSERT_TRUE(given);
  EXPECT_EQ(given->ranks, (std::vector<int>{1, 2, 3}));
  EXPECT_FALSE(ledger.try_ended(2, word(given->id, JobState::lost, "peer")));
  EXPECT_EQ(ledger.unfinished_ranks(given->id), (std::vector<int>{1, 3}));
  EXPECT_FALSE(ledger.try_ended(3, word(given->id, JobState::failed, "out of memory")));
  EXPECT_FALSE(ledger.try_ended(3, word(given->id, JobState::done))) << "a rank speaks once";
  const auto verdict = ledger.try_ended(1, word(given->id, JobState::lost, "peer"));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->state, JobState::failed);
  EXPECT_EQ(verdict->message, "out of memory");
  EXPECT_TRUE(verdict->again);
  EXPECT_EQ(ledger.entries()[0].state, JobState::planned);
  EXPECT_EQ(ledger.start_next()->id, (TryId{0, 2}));
}

TEST(Ledger, TryThatWentWellMayHaveSomethingToSay) {
  Ledger ledger = ledger_of(1, 2, 2);
  const auto given = ledger.start_next();
  ASSERT_TRUE(given);
  EXPECT_FALSE(ledger.try_ended(1, word(given->id, JobState::done, "one point was not run")));
  const auto verdict = ledger.try_ended(2, word(given->id, JobState::done, "the same"));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->state, JobState::done);
  EXPECT_EQ(verdict->message, "one point was not run");
}

TEST(Ledger, KnowsThePointsOfAPretrainedJob) {
  Ledger ledger = ledger_of(1, 1);
  const auto given = ledger.start_next();
  ASSERT_TRUE(given);
  EvaluationRow row;
  row.task = "phone_book";
  row.length = 20;
  row.n = 96;
  ledger.measured(given->id, row);
  ledger.measured({given->id.job, given->id.attempt + 1}, row);  // another try
  row.length = 200;
  row.n = 0;  // was not run
  ledger.measured(given->id, row);
  EXPECT_EQ(ledger.entries()[0].measured, (std::vector<EvalPoint>{{TaskKind::phone_book, 0, 20}}));
}

TEST(Ledger, KnowsThePointsOfTheLastStepThatWasMeasured) {
  Ledger ledger = ledger_of(1, 1);
  const auto given = ledger.start_next();
  ASSERT_TRUE(given);
  EvaluationRow row;
  row.task = "copy";
  row.n = 96;
  for (const auto& [step, length] : {std::pair{20, 5}, std::pair{20, 9}, std::pair{40, 5}}) {
    row.step = step;
    row.length = length;
    ledger.measured(given->id, row);
  }
  EXPECT_EQ(ledger.entries()[0].measured_step, 40);
  EXPECT_EQ(ledger.entries()[0].measured, (std::vector<EvalPoint>{{TaskKind::copy, 0, 5}}));
}

TEST(Ledger, FewerSurvivorsShareAPretrainedJobWhateverItsBatches) {
  LedgerEntry entry = planned(0, 4);
  entry.job.pretrained.model = "models/a";
  Ledger ledger({entry}, 3);
  for (int rank = 1; rank <= 3; ++rank) ledger.worker_arrived(rank);
  EXPECT_EQ(ledger.start_next()->ranks, (std::vector<int>{1, 2, 3})) << "8 rows of training would go to 2";
}

TEST(Ledger, LostWorkerTakesItsTryWithItAndTheOthersGoOn) {
  Ledger ledger = ledger_of(2, 4, 2);
  const auto first = ledger.start_next();
  const auto second = ledger.start_next();
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(ledger.worker_lost(2)) << "rank 1 has not ended its part yet";
  const auto verdict = ledger.try_ended(1, word(first->id, JobState::lost, "peer lost"));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->state, JobState::lost);
  EXPECT_TRUE(verdict->again);
  EXPECT_FALSE(ledger.start_next()) << "one idle worker, and groups of two can still be formed later";
  EXPECT_TRUE(ledger.is_current(second->id));
  ledger.try_ended(3, word(second->id, JobState::done));
  ledger.try_ended(4, word(second->id, JobState::done));
  const auto again = ledger.start_next();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->id, (TryId{0, 2}));
  EXPECT_EQ(again->ranks, (std::vector<int>{1, 3}));
}

TEST(Ledger, AWorkerIsLostToTheTryThatItWorksAt) {
  Ledger ledger = ledger_of(3, 4, 2);
  const auto first = ledger.start_next();
  const auto second = ledger.start_next();
  ledger.try_ended(2, word(first->id, JobState::done));  // rank 1 still saves the model
  ledger.try_ended(3, word(second->id, JobState::done));
  const auto third = ledger.start_next();
  ASSERT_TRUE(third);
  EXPECT_EQ(third->ranks, (std::vector<int>{2, 3}));
  EXPECT_EQ(ledger.try_of(2), third->id);
  EXPECT_FALSE(ledger.worker_lost(2)) << "rank 3 has not ended its part";
  EXPECT_FALSE(ledger.try_of(2));
  EXPECT_EQ(ledger.unfinished_ranks(third->id), std::vector<int>{3});
  const auto verdict = ledger.try_ended(3, word(third->id, JobState::lost, "peer lost"));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->state, JobState::lost);
  EXPECT_EQ(ledger.try_ended(1, word(first->id, JobState::done))->state, JobState::done);
}

TEST(Ledger, WordsOfAnEarlierTryAreDropped) {
  Ledger ledger = ledger_of(1, 1);
  const auto first = ledger.start_next();
  ASSERT_TRUE(ledger.try_ended(1, word(first->id, JobState::failed)));
  const auto second = ledger.start_next();
  ASSERT_TRUE(second);
  EXPECT_FALSE(ledger.is_current(first->id));
  EXPECT_FALSE(ledger.try_ended(1, word(first->id, JobState::done)));
  EXPECT_TRUE(ledger.is_current(second->id));
}

TEST(Ledger, GivesAJobUpAfterMaxTries) {
  Ledger ledger = ledger_of(1, 1, 1, 2);
  ASSERT_TRUE(ledger.try_ended(1, word(ledger.start_next()->id, JobState::failed, "a"))->again);
  const auto last = ledger.try_ended(1, word(ledger.start_next()->id, JobState::lost, "b"));
  ASSERT_TRUE(last);
  EXPECT_FALSE(last->again);
  EXPECT_EQ(last->state, JobState::failed);
  EXPECT_TRUE(ledger.finished());
  EXPECT_EQ(ledger.count(JobState::failed), 1);
}

TEST(Ledger, SmallerGroupWhenTooFewWorkersAreLeft) {
  Ledger ledger = ledger_of(1, 3, 4);  // a batch of 8 rows: 3 ranks do not divide it, 2 do
  EXPECT_EQ(ledger.start_next()->ranks, (std::vector<int>{1, 2}));
}

TEST(Ledger, StoppedJobsAreNotStartedAgainAndDrainingStartsNone) {
  Ledger ledger = ledger_of(2, 1);
  const auto given = ledger.start_next();
  ledger.drain();
  EXPECT_FALSE(ledger.finished());
  const auto verdict = ledger.try_ended(1, word(given->id, JobState::stopped));
  EXPECT_EQ(verdict->state, JobState::stopped);
  EXPECT_FALSE(verdict->again);
  EXPECT_FALSE(ledger.start_next());
  EXPECT_TRUE(ledger.finished());
  EXPECT_EQ(ledger.count(JobState::planned), 1);
}

TEST(Ledger, WorkersLostWhileDrainingAreNoFailureOfTheirJob) {
  Ledger ledger = ledger_of(1, 1);
  ASSERT_TRUE(ledger.start_next());
  ledger.drain();
  const auto verdict = ledger.worker_lost(1);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->state, JobState::lost);
  EXPECT_EQ(ledger.count(JobState::failed), 0);
  EXPECT_TRUE(ledger.finished());
}

TEST(Ledger, EndsWhenNoWorkerIsLeft) {
  Ledger ledger = ledger_of(2, 1);
  ASSERT_TRUE(ledger.start_next());
  const auto verdict = ledger.worker_lost(1);
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(ledger.finished());
  EXPECT_EQ(ledger.count(JobState::planned), 2);
}

}  // namespace
}  // namespace recite
